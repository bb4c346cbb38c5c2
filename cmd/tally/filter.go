// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/url"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A parameter is one of a list's filter. The flag has the name that the
// parameter has in the address of a page and in the API; hyphens may stand for
// its underscores. An empty help means a yes or no.
type parameter struct{ name, help string }

// credentialParameters are those that inventory.ParseCredentialFilter reads.
var credentialParameters = [...]parameter{
	{"q", "with these `WORDS` in names, subject, serial or fingerprint"},
	{"kind", "of this `KIND`: certificate, key, ssh-certificate, sealed, named"},
	{"algorithm", "with a key of this `ALGORITHM`: rsa-2048, or a family: rsa"},
	{"issuer", "by this `ISSUER`"},
	{"key", "with this `KEY` id"},
	{"owner", "that belong to this `OWNER`; - is nobody"},
	{"environment", "in this `ENVIRONMENT`"},
	{"tag", "with this `TAG`"},
	{"rule", "with an open finding of this `RULE`"},
	{"severity", "with an open finding of this `SEVERITY` or worse"},
	{"place", "at this `PLACE`, or the file or trust store of this path"},
	{"scheme", "at a place of this `SCHEME`: file, tls, truststore, ssh"},
	{"network", "at a place in this `NETWORK`: 10.0.2.0/24, example.net"},
	{"role", "in this `ROLE` somewhere: holds, presents, accepts"},
	{"ends_after", "that end on this `DAY` or later"},
	{"ends_before", "that end before this `DAY`"},
	{"leaf", ""},
	{"sample", "true or `FALSE`: only samples that packages bring along and nothing uses, or only the others"},
	{"gone", ""},
}

var placeParameters = [...]parameter{
	{"prefix", "that begin with this `TEXT`: /etc/, tls://127.0.0.1"},
	{"scheme", "of this `SCHEME`: file, tls, truststore, ssh"},
	{"network", "in this `NETWORK`: 10.0.2.0/24, example.net"},
	{"empty", ""},
}

var findingParameters = [...]parameter{
	{"rule", "of this `RULE`"},
	{"severity", "of this `SEVERITY` or worse"},
	{"owner", "of credentials that belong to this `OWNER`; - is nobody"},
	{"assignee", "that this `PERSON` is to see to; - is nobody"},
	{"credential", "of the credential with this `FINGERPRINT`, or the beginning of one"},
	{"place", "at this `PLACE` or beneath it, or beneath this path"},
	{"state", "in this `STATE`: open (and not accepted), accepted, closed, all"},
}

// manyParameters are those of findings but the state, which a command knows.
func manyParameters() []parameter { return findingParameters[:len(findingParameters)-1] }

// flagNames are the flags of parameters.
func flagNames(parameters []parameter) []string {
	var names []string
	for _, p := range parameters {
		names = append(names, "--"+strings.ReplaceAll(p.name, "_", "-"))
	}
	return names
}

// yesNo is the help of parameters that take no value.
var yesNo = map[string]string{
	"leaf":       "end-entity certificates only",
	"gone":       "those that are nowhere any more, instead",
	"empty":      "those where nothing is any more, instead",
	"unexpected": "only what happened and nobody expected",
	"due":        "only what is to be replaced now",
	"stale":      "only what a restored database has lost the newest version of",
	"destroyed":  "those that were destroyed, instead",
}

// addParameters gives a command a flag for each parameter.
func addParameters(cmd *cobra.Command, parameters []parameter) {
	cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
	})
	for _, p := range parameters {
		if p.help == "" {
			cmd.Flags().Bool(p.name, false, yesNo[p.name])
		} else {
			cmd.Flags().String(p.name, "", p.help)
		}
	}
	completeValues(cmd)
}

// queryOf returns what the flags ask for, as the query of an address.
func queryOf(cmd *cobra.Command, parameters []parameter) url.Values {
	query := url.Values{}
	for _, p := range parameters {
		if flag := cmd.Flags().Lookup(p.name); flag != nil && flag.Changed {
			query.Set(p.name, flag.Value.String())
		}
	}
	return query
}
