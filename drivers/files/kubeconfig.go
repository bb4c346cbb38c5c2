// SPDX-License-Identifier: Apache-2.0

package files

import (
	"bytes"
	"encoding/base64"
	"strings"

	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
)

// kubeconfigRoles are the fields of a kubeconfig that hold a credential in
// base64 (Kubernetes API reference, kubeconfig v1), and what it does there.
var kubeconfigRoles = map[string]tallystick.Role{
	"certificate-authority-data": tallystick.RoleAccepts,
	"client-certificate-data":    tallystick.RolePresents,
	"client-key-data":            tallystick.RoleHolds,
}

// maxKubeconfig bounds what is taken apart: a token of the lexer takes some
// 200 bytes, and a hostile file has one in each byte.
const maxKubeconfig = 512 << 10

// isKubeconfig says whether a file may be one: it names its API version within
// the first lines, as YAML or JSON. What it holds is decided by its fields.
func isKubeconfig(head []byte) bool {
	return bytes.Contains(head, []byte("apiVersion")) &&
		(bytes.Contains(head, []byte("clusters")) || bytes.Contains(head, []byte("Config")))
}

// parseKubeconfig reads the credentials of a kubeconfig. It goes over the
// tokens instead of decoding the document: no nesting and no alias can then
// make it cost more than the length of the file, and a document that is broken
// further down still gives what stands above.
func (l *look) parseKubeconfig(name string, data []byte, budget *parse.Work) parse.Result {
	if !bytes.Contains(data, []byte("-data")) {
		return parse.Result{}
	}
	if len(data) > maxKubeconfig {
		return parse.Result{Problems: []parse.Problem{{Word: "too-large", Detail: "a kubeconfig of more than 512 KiB"}}}
	}
	reader := kubeconfigReader{look: l, name: name, budget: budget}
	for t := range pairs(lexer.Tokenize(string(data))) {
		reader.pair(t)
	}
	reader.endEntry()
	return reader.result
}

// A pair is a key with its value, or the dash that begins an entry of a list.
type pair struct {
	key, value string
	column     int // of the key or dash
}

// pairs yields the dashes and the keys with a plain value, in order.
func pairs(tokens token.Tokens) func(func(pair) bool) {
	return func(yield func(pair) bool) {
		for i, t := range tokens {
			if t.Type == token.SequenceEntryType && !yield(pair{key: "-", column: t.Position.Column}) {
				return
			}
			if t.Type != token.MappingValueType || i == 0 || i+1 == len(tokens) {
				continue
			}
			key, value := tokens[i-1], tokens[i+1]
			if value.Type == token.LiteralType || value.Type == token.FoldedType { // "|" or ">", then the text
				if i+2 == len(tokens) {
					continue
				}
				value = tokens[i+2]
			}
			if !yield(pair{strings.TrimSpace(key.Value), value.Value, key.Position.Column}) {
				return
			}
		}
	}
}

// A kubeconfigReader collects the credentials of one entry of clusters or
// users, until it knows the entry's name, which may stand before or after them.
type kubeconfigReader struct {
	look   *look
	name   string
	budget *parse.Work
	dash   int // column of the dash of the entry
	alias  string
	items  []parse.Item
	result parse.Result
}

func (r *kubeconfigReader) pair(p pair) {
	switch role, known := kubeconfigRoles[p.key]; {
	case p.key == "-" && (r.dash == 0 || p.column <= r.dash):
		r.endEntry()
		r.dash = p.column
	case p.key == "name" && r.dash > 0 && p.column == r.dash+2:
		r.alias = p.value
	case known && p.value != "":
		r.credential(p.key, p.value, role)
	}
}

// credential reads one field.
func (r *kubeconfigReader) credential(key, value string, role tallystick.Role) {
	data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(value), ""))
	if err != nil {
		r.problem(parse.Problem{Word: "malformed", Detail: key + " is not base64"})
		return
	}
	found := parse.BytesWithin(r.look.ctx, r.budget, r.name, data, r.look.passphrases)
	for _, item := range found.Items {
		item.Format = "kubeconfig"
		if !item.Private {
			item.Role = role
		}
		r.items = append(r.items, item)
	}
	for _, p := range found.Problems {
		r.problem(parse.Problem{Word: p.Word, Detail: key + ": " + p.Detail})
	}
	if len(found.Items)+len(found.Problems) == 0 {
		r.problem(parse.Problem{Word: "malformed", Detail: key + " holds neither PEM nor DER"})
	}
}

func (r *kubeconfigReader) problem(p parse.Problem) { r.result.Problems = append(r.result.Problems, p) }

// endEntry gives the collected credentials the name of their entry.
func (r *kubeconfigReader) endEntry() {
	for _, item := range r.items {
		item.Alias = r.alias
		r.result.Items = append(r.result.Items, item)
	}
	r.items, r.alias = nil, ""
}
