// SPDX-License-Identifier: Apache-2.0

package inventory

// SummaryName is under what the summary of a large estate is kept.
const SummaryName = summaryName

// Running says whether Run counts behind the pages.
func Running(i *Inventory) bool {
	i.summary.mu.Lock()
	defer i.summary.mu.Unlock()
	return i.summary.running
}
