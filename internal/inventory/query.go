// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/internal/query"
	"github.com/tallystick/tallystick/internal/store"
)

// Kinds are those of credentials.
func Kinds() []string {
	return []string{
		string(tallystick.KindCertificate), string(tallystick.KindKey), string(tallystick.KindSSHCertificate), string(tallystick.KindSealed),
		string(tallystick.KindNamed),
	}
}

// Roles are what a credential does at a place.
func Roles() []string {
	return []string{string(tallystick.RoleHolds), string(tallystick.RolePresents), string(tallystick.RoleAccepts)}
}

// ParseCredentialFilter reads a filter for credentials from the parameters of
// an address: q, kind, algorithm, owner, environment, tag, severity, rule,
// issuer, key, scheme, network, role, place, ends_after and ends_before (see ParseTime),
// leaf and gone ("true"), and sample ("true" or "false"). A value that makes no
// sense is ErrInvalid; rules are those that there are.
func ParseCredentialFilter(q url.Values, rules []string) (store.CredentialFilter, error) {
	f := store.CredentialFilter{
		Text: q.Get("q"), Kind: q.Get("kind"), Issuer: q.Get("issuer"), KeyID: q.Get("key"),
		Owner: q.Get("owner"), Environment: q.Get("environment"), Tag: q.Get("tag"), Rule: q.Get("rule"), Sample: q.Get("sample"),
		Place: tallystick.Place(q.Get("place")), Scheme: q.Get("scheme"), Network: q.Get("network"), Role: q.Get("role"), Leaf: q.Get("leaf") == "true", Gone: q.Get("gone") == "true",
	}
	if f.Kind == string(tallystick.KindNamed) {
		f.Gone = true // nobody has seen where they are
	}
	for _, err := range []error{
		query.OneOf("kind", f.Kind, Kinds()...), query.OneOf("scheme", f.Scheme, finding.Schemes()...), query.OneOf("role", f.Role, Roles()...),
		query.OneOf("value of sample", f.Sample, "true", "false"), finding.CheckRule(f.Rule, rules), finding.CheckPlace(f.Place), store.CheckNetwork(f.Network),
	} {
		if err != nil {
			return f, err
		}
	}
	var err error
	if f.Algorithm, err = parseAlgorithm(q.Get("algorithm")); err != nil {
		return f, err
	}
	if f.Severity, err = finding.ParseSeverity(q.Get("severity")); err != nil {
		return f, err
	}
	if f.EndsAfter, err = query.ParseTime(q.Get("ends_after")); err != nil {
		return f, err
	}
	f.EndsBefore, err = query.ParseTime(q.Get("ends_before"))
	return f, err
}

// Families are those of key algorithms whose names go on with a size or a curve.
func Families() []string {
	return []string{"rsa", "ecdsa", "dsa", "dh", "ml-dsa", "ml-kem", "slh-dsa", "gost"}
}

// parseAlgorithm reads the name of an algorithm, or of a family with or without
// the hyphen that its members go on with.
func parseAlgorithm(name string) (string, error) {
	name = strings.ToLower(name)
	whole := []string{"ed25519", "ed448", "x25519", "x448", "sm2", "unknown"}
	family, _, _ := strings.Cut(name, "-")
	switch {
	case name == "" || slices.Contains(whole, name):
		return name, nil
	case slices.Contains(Families(), name):
		return name + "-", nil
	case slices.ContainsFunc(Families(), func(f string) bool { return strings.HasPrefix(name, f+"-") }):
		return name, nil
	}
	return name, query.OneOf("algorithm", cmp.Or(family, name), slices.Concat(Families(), whole)...)
}

// ParsePlaceFilter reads a filter for places from the parameters of an address:
// prefix, scheme, network and empty ("true"). A prefix that is a path is a file's.
func ParsePlaceFilter(q url.Values) (store.PlaceFilter, error) {
	f := store.PlaceFilter{Prefix: q.Get("prefix"), Scheme: q.Get("scheme"), Network: q.Get("network"), Empty: q.Get("empty") == "true"}
	if strings.HasPrefix(f.Prefix, "/") {
		f.Prefix = string(tallystick.FilePlace(f.Prefix))
	}
	if err := store.CheckNetwork(f.Network); err != nil {
		return f, err
	}
	return f, query.OneOf("scheme", f.Scheme, finding.Schemes()...)
}
