// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// explained returns who expected a change, and why: somebody announced it, it takes another one
// back, or a certificate was issued here for the account. TakesBack is that other one, also where the change was
// announced, if a directory told the values, which no sender of records can; 0 is none, and what failed takes
// nothing back.
func explained(ctx context.Context, tx *writing, c tallystick.Change) (expected string, takesBack int64, err error) {
	by, takesBack, err := takenBack(ctx, tx, c)
	if err != nil {
		return "", 0, err
	}
	if c.Failed || c.Values == nil {
		takesBack = 0
	}
	expected, err = announced(ctx, tx, c)
	if expected = cmp.Or(expected, by); expected != "" || err != nil {
		return expected, takesBack, err
	}
	expected, err = issuedFor(ctx, tx, c)
	return expected, takesBack, err
}

// takenBack returns who takes another change back by this one, and that one. Only the very values that are put
// or taken are expected: what else is done to the target meanwhile alarms as ever.
func takenBack(ctx context.Context, tx *writing, c tallystick.Change) (by string, id int64, err error) {
	const query = `SELECT e.by_whom, e.reason, e.kind, a.id, a.change FROM access_expectations e JOIN access_changes a ON a.id = e.takes_back
		WHERE e.target = $1 AND e.since <= $2 AND e.until >= $2 ORDER BY e.id`
	rows, err := tx.QueryContext(ctx, query, IndexText(c.Target), micros(c.Time))
	if err != nil {
		return "", 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var who, reason, text string
		var kind tallystick.ChangeKind
		var one int64
		var first tallystick.Change
		if err := rows.Scan(&who, &reason, &kind, &one, &text); err != nil {
			return "", 0, err
		}
		if err := json.Unmarshal([]byte(text), &first); err != nil {
			return "", 0, err
		}
		if by == "" && isOpposite(c, first, kind) {
			by, id = who+": "+reason, one
		}
	}
	return by, id, rows.Err()
}

// isOpposite says whether a change is the opposite of another one. An audit log, which tells no
// values, has to name the same ones and be of the opposite kind.
func isOpposite(c, first tallystick.Change, opposite tallystick.ChangeKind) bool {
	if c.Values != nil && first.Values != nil {
		now, then := c.Values, first.Values
		return now.Object == then.Object && strings.EqualFold(now.Attribute, then.Attribute) && len(now.Added)+len(now.Removed) > 0 &&
			slices.EqualFunc(now.Added, then.Removed, bytes.Equal) && slices.EqualFunc(now.Removed, then.Added, bytes.Equal)
	}
	told := len(c.Credential)+len(c.Grants)+len(c.Before)+len(c.After) > 0
	return told && c.Kind == opposite && strings.EqualFold(c.Detail, first.Detail) && c.Before == first.After && c.After == first.Before &&
		slices.Equal(c.Credential, first.Credential) && slices.Equal(c.Grants, first.Grants)
}

// EndAccessExpectation ends an expectation before its time.
func (db *DB) EndAccessExpectation(ctx context.Context, id int64) error {
	_, err := db.write.ExecContext(ctx, `DELETE FROM access_expectations WHERE id = $1`, id)
	return db.wrap("couldn't end what is expected", err)
}

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
	const query = `SELECT names, requester, issued_at FROM issued WHERE spki = $1 AND sha256 = $2 AND NOT EXISTS
		(SELECT 1 FROM revocations r WHERE r.serial = issued.serial AND r.authority_id = issued.authority_id)`
	var text, requester string
	var issued int64
	err := tx.QueryRowContext(ctx, query, key, certificate).Scan(&text, &requester, &issued)
	if err == sql.ErrNoRows {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var names issuedNames
	if err := json.Unmarshal([]byte(text), &names); err != nil {
		return "", err
	}
	if !names.are(c.TargetName, targetDomain(c.Target)) {
		return "", nil
	}
	return "issued here for it on " + timeOf(issued).UTC().Format(time.DateOnly) + ", asked for by " + requester, nil
}

// issuedNames are the names of an issued certificate that may be those of an account, each by
// itself: the text of a subject would have to be taken apart again.
type issuedNames struct {
	CommonName string   `json:"common_name"`
	DNS        []string `json:"dns"`
	Emails     []string `json:"emails"`
	Principals []string `json:"principals"`
}

// are says whether a name is that of an account of a domain: "svc1@lab.test", "web1.lab.test" of the
// computer "WEB1$", and "svc1" or "web1" where that is the whole common name or principal. Of
// another domain it is somebody else.
func (n issuedNames) are(account, domain string) bool {
	accepted := []string{account}
	host, computer := strings.CutSuffix(account, "$")
	if computer && host != "" {
		accepted = append(accepted, host)
	}
	within := func(name string) bool {
		return domain != "" && (strings.EqualFold(name, account+"@"+domain) || computer && strings.EqualFold(name, host+"."+domain))
	}
	bare := func(name string) bool {
		return slices.ContainsFunc(accepted, func(one string) bool { return strings.EqualFold(one, name) })
	}
	alone := append([]string{n.CommonName}, n.Principals...)
	return slices.ContainsFunc(alone, bare) || slices.ContainsFunc(slices.Concat(alone, n.DNS, n.Emails), within)
}

// targetDomain returns the DNS name of the domain in which a target is: that of Active Directory, or the
// one that a name ends in ("dc=lab,dc=test"); "" where it says none.
func targetDomain(target string) string {
	kind, rest, _ := strings.Cut(target, ":")
	directory, dn, _ := strings.Cut(rest, "/")
	if kind == "ad" {
		return directory
	}
	if strings.Contains(dn, `\`) {
		return "" // an escaped comma parts nothing
	}
	var labels []string
	for _, part := range slices.Backward(strings.Split(dn, ",")) {
		label, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(part)), "dc=")
		if !ok {
			break
		}
		labels = append(labels, label)
	}
	slices.Reverse(labels)
	return strings.Join(labels, ".")
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
