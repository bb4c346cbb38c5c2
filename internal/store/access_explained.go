// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// issuedFor says that a credential which was added to an account is a certificate that was issued
// here for that account, as a renewal and a recall do; "" is that it is not. One that names somebody else
// explains nothing: an intruder would add the certificate that they were given themselves.
func issuedFor(ctx context.Context, tx *writing, c tallystick.Change) (string, error) {
	if c.Kind != tallystick.ChangeCredentialAdded || c.TargetName == "" {
		return "", nil
	}
	key, certificate := digestNamed(c.Credential, "spki-sha256:"), digestNamed(c.Credential, "cert-sha256:")
	if key == nil || certificate == nil {
		return "", nil
	}
	const query = `SELECT subject, names, requester, issued_at FROM issued WHERE spki = $1 AND sha256 = $2 AND NOT EXISTS
		(SELECT 1 FROM revocations r WHERE r.serial = issued.serial AND r.authority_id = issued.authority_id)`
	var subject, names, requester string
	var issued int64
	err := tx.QueryRowContext(ctx, query, key, certificate).Scan(&subject, &names, &requester, &issued)
	if err == sql.ErrNoRows {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var kinds map[string]json.RawMessage // lists of names by their kind
	if err := json.Unmarshal([]byte(names), &kinds); err != nil {
		return "", err
	}
	var list []string
	for _, raw := range kinds {
		var some []string
		if json.Unmarshal(raw, &some) == nil {
			list = append(list, some...)
		}
	}
	for _, part := range strings.Split(subject, ",") {
		if name, ok := strings.CutPrefix(strings.TrimSpace(part), "CN="); ok {
			list = append(list, name)
		}
	}
	for _, name := range list {
		if namesAccount(name, c.TargetName) {
			return "issued here for it on " + timeOf(issued).UTC().Format(time.DateOnly) + ", asked for by " + requester, nil
		}
	}
	return "", nil
}

// namesAccount says whether a name in a certificate is that of an account: "svc1",
// "svc1@lab.test", and "web1.lab.test" of the computer "WEB1$".
func namesAccount(name, account string) bool {
	if computer, ok := strings.CutSuffix(account, "$"); ok {
		host, _, _ := strings.Cut(name, ".")
		return strings.EqualFold(host, computer)
	}
	local, _, _ := strings.Cut(name, "@")
	return strings.EqualFold(local, account)
}

func digestNamed(names []string, prefix string) []byte {
	for _, name := range names {
		if text, ok := strings.CutPrefix(name, prefix); ok {
			if digest, err := hex.DecodeString(text); err == nil {
				return digest
			}
		}
	}
	return nil
}

// AccessChange returns one change.
func (db *DB) AccessChange(ctx context.Context, id int64) (AccessChange, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT `+accessColumns+` FROM access_changes WHERE id = $1`, id)
	list, err := collect(db, "couldn't read a change", rows, err, scanAccessChange)
	if err == nil && len(list) == 0 {
		err = db.wrap("couldn't read a change", sql.ErrNoRows)
	}
	if err != nil {
		return AccessChange{}, err
	}
	return list[0], nil
}
