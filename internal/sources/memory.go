// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"context"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/store"
)

// A memory has what the driver of one source asked to be remembered.
type memory struct {
	db     *store.DB
	source int64
}

// Remembered returns the values under keys.
func (m memory) Remembered(ctx context.Context, keys []string) ([][]byte, error) {
	return m.db.Remembered(ctx, m.source, keys)
}

// keep keeps what a batch asks for.
func (m memory) keep(ctx context.Context, list []driver.Remembered) error {
	if len(list) == 0 {
		return nil
	}
	values := make(map[string][]byte, len(list))
	for _, one := range list {
		values[one.Key] = one.Value
	}
	return m.db.Remember(ctx, m.source, values)
}
