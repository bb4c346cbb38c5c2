// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
)

// NewIDs is newIDs for tests of package store_test, which storetest needs.
func NewIDs(ctx context.Context, db *DB, n int64) (int64, error) { return db.newIDs(ctx, n) }

// Wrap is wrap for tests.
func Wrap(db *DB, doing string, err error) error { return db.wrap(doing, err) }

// Write returns the pool for writing.
func Write(db *DB) *sql.DB { return db.write }
