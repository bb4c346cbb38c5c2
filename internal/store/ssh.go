// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
)

// EachBlockedCertificate calls fn for every certificate that was issued for a key which
// is blocked now, in the order of serials. The certificate is only good until fn
// returns. No more than one is in memory at a time.
func (db *DB) EachBlockedCertificate(ctx context.Context, fn func(authority int64, certificate []byte) error) error {
	const query = `SELECT i.authority_id, i.certificate FROM blocked_keys b JOIN issued i ON i.spki = b.spki ORDER BY i.serial`
	var authority int64
	var certificate sql.RawBytes
	rows, err := db.read.QueryContext(ctx, query)
	return db.wrap("couldn't read the certificates of blocked keys", each(rows, err, func(rows *sql.Rows) error {
		if err := rows.Scan(&authority, &certificate); err != nil {
			return err
		}
		return fn(authority, certificate)
	}))
}
