// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"context"

	"github.com/tallystick/tallystick/internal/store"
)

// SummaryName is under what the summary of a large estate is kept.
const SummaryName = summaryName

// Running says whether Run counts behind the pages.
func Running(i *Inventory) bool {
	i.summary.mu.Lock()
	defer i.summary.mu.Unlock()
	i.networks.mu.Lock()
	defer i.networks.mu.Unlock()
	return i.summary.running && i.networks.running
}

// NetworkWithoutPatience is what a page gets of a network that waits no more.
func NetworkWithoutPatience(ctx context.Context, i *Inventory, name string) (store.Network, error) {
	ended, end := context.WithCancel(ctx)
	end()
	return i.network(ctx, ended, name)
}
