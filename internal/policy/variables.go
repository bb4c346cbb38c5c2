// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// A Variable is what an expression can speak of.
type Variable struct{ Name, Type, About string }

// Variables lists what expressions can speak of, for documents and hints.
func Variables() []Variable {
	return []Variable{
		{"who", "string", "who asks: the name of a person, a token, or of an account such as `acme/7`"},
		{"role", "string", "`client`, `viewer`, `operator` or `admin`"},
		{"via", "string", "how the request came in: `api`, `local`, `acme`, `est`, `ssh`, `spiffe`, `renewal`"},
		{"profile", "string", "what the certificate is for"},
		{"authority", "string", "the CA that is asked"},
		{"names", "list(string)", "all names of all sorts, the common name too"},
		{"dns", "list(string)", "the DNS names, in lower case; wildcards begin with `*.`"},
		{"ips", "list(string)", "the IP addresses"},
		{"emails", "list(string)", "the mail addresses"},
		{"uris", "list(string)", "the URIs, among them SPIFFE IDs"},
		{"principals", "list(string)", "the principals of an SSH certificate, and Kerberos names"},
		{"common_name", "string", "the common name, or an empty string"},
		{"key.type", "string", "`ecdsa-p256`, `ecdsa-p384`, `ecdsa-p521`, `ed25519`, or `rsa-` and its bits"},
		{"key.kind", "string", "`ecdsa`, `ed25519` or `rsa`"},
		{"key.bits", "int", "the size of the key: `256` for `ecdsa-p256`, `2048` for `rsa-2048`"},
		{"key.id", "string", "the SHA-256 of the SubjectPublicKeyInfo, in hexadecimal"},
		{"lifetime", "duration", "how long the certificate would be valid"},
		{"proven", "bool", "whether whoever asks has shown control of every name, as ACME clients do"},
		{"granted", "bool", "whether a rule before this one that has `grants: true` grants the names"},
		{"renewal", "bool", "whether it takes the place of an earlier certificate of the same requester"},
		{"binding", "string", "of ACME: the external account that was bound; else an empty string"},
		{"now", "timestamp", "the time of the request"},
	}
}

// typeOf returns the type that a Variable names.
func typeOf(name string) *cel.Type {
	switch name {
	case "list(string)":
		return cel.ListType(cel.StringType)
	case "int":
		return cel.IntType
	case "bool":
		return cel.BoolType
	case "duration":
		return cel.DurationType
	case "timestamp":
		return cel.TimestampType
	}
	return cel.StringType
}

// variables are the values for one request. They belong to one Decide.
type variables struct {
	request *Request
	granted bool
	// withheld says why the first rule that would grant does not; "" when there is none.
	withheld string
	lists    [6]ref.Val // made when they are first asked for: names, dns, ips ...
}

// Parent implements cel.Activation.
func (v *variables) Parent() cel.Activation { return nil }

// ResolveName implements cel.Activation.
func (v *variables) ResolveName(name string) (any, bool) {
	r := v.request
	switch name {
	case "who":
		return types.String(r.Who), true
	case "role":
		return types.String(r.Role), true
	case "via":
		return types.String(r.Via), true
	case "profile":
		return types.String(r.Profile), true
	case "authority":
		return types.String(r.Authority), true
	case "common_name":
		return types.String(r.CommonName), true
	case "binding":
		return types.String(r.Binding), true
	case "lifetime":
		return types.Duration{Duration: r.Lifetime}, true
	case "proven":
		return types.Bool(r.Proven), true
	case "granted":
		return types.Bool(v.granted), true
	case "renewal":
		return types.Bool(r.Renewal), true
	case "now":
		return types.Timestamp{Time: r.Now}, true
	}
	if rest, ok := strings.CutPrefix(name, "key."); ok {
		return r.key(rest)
	}
	return v.list(name)
}

// key returns what is known of the key.
func (r *Request) key(what string) (any, bool) {
	kind, size, _ := strings.Cut(r.KeyType, "-")
	switch what {
	case "type":
		return types.String(r.KeyType), true
	case "id":
		return types.String(r.KeyID), true
	case "kind":
		return types.String(kind), true
	case "bits":
		bits, err := strconv.ParseInt(strings.TrimPrefix(size, "p"), 10, 32)
		if err != nil && kind == "ed25519" {
			bits = 256
		}
		return types.Int(bits), true
	}
	return nil, false
}

// list returns one of the lists of names.
func (v *variables) list(name string) (any, bool) {
	r := v.request
	var of int
	var names []string
	switch name {
	case "names":
		of = 0
	case "dns":
		of, names = 1, r.DNS
	case "ips":
		of, names = 2, r.IPs
	case "emails":
		of, names = 3, r.Emails
	case "uris":
		of, names = 4, r.URIs
	case "principals":
		of, names = 5, r.Principals
	default:
		return nil, false
	}
	if v.lists[of] == nil {
		if of == 0 {
			names = r.names()
		}
		v.lists[of] = types.NewStringList(types.DefaultTypeAdapter, names)
	}
	return v.lists[of], true
}

// names returns all of them. The common name is one, because there are programs that
// read it as such.
func (r *Request) names() []string {
	if r.CommonName == "" && len(r.DNS) > 0 && len(r.IPs)+len(r.Emails)+len(r.URIs)+len(r.Principals) == 0 {
		return r.DNS
	}
	all := slices.Concat(r.DNS, r.IPs, r.Emails, r.URIs, r.Principals)
	if r.CommonName != "" && !slices.Contains(all, r.CommonName) {
		all = append(all, r.CommonName)
	}
	return all
}
