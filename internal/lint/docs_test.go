// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	zlint "github.com/zmap/zlint/v3/lint"
)

var update = flag.Bool("update", false, "write docs/lints.md")

// docs/lints.md is what is run, and why.
func TestDocument(t *testing.T) {
	l := newLinter(t)
	var page bytes.Buffer
	page.WriteString(`# Lints

This page is made from internal/lint by ` + "`go test ./internal/lint -update`" + `.

Every certificate is looked at before it is issued. One that breaks a rule is not issued; a warning stops nothing.
Three things look:

- the lints of [zlint](https://github.com/zmap/zlint) below;
- checks of our own, which know the issuer and the profile: serial numbers, validity, key identifiers, purposes, critical flags
  (internal/lint/check.go, each with the section of RFC 5280 that it holds);
- checks of the key that is to be certified, before anything else: sizes, curves, small factors, ROCA, neighbouring primes, points that
  are not on the curve or of small order, and keys that were published (internal/lint/key.go).

A lint whose name begins with e_ finds errors, one with w_ warnings. Those with n_ ask nobody to do anything and are not run.

## Lints of RFCs that are not run

| lint | why not |
|---|---|
`)
	for _, c := range LeftOut() {
		fmt.Fprintf(&page, "| %s | %s |\n", c.Lint, c.Reason)
	}
	page.WriteString("\n## Lints of the public web that are run here too\n\nAll others of CA/Browser Forum, root programmes, ETSI and zlint itself " +
		"are about policies of public CAs, and are not run.\n\n| lint | why |\n|---|---|\n")
	for _, c := range TakenOver() {
		fmt.Fprintf(&page, "| %s | it %s |\n", c.Lint, c.Reason)
	}
	fmt.Fprintf(&page, "\n## All %d lints that are run\n\n| lint | what it says | source |\n|---|---|---|\n", len(l.lints))
	lints := slices.Clone(l.lints)
	slices.SortFunc(lints, func(a, b chosen) int { return strings.Compare(a.Name, b.Name) })
	for _, one := range lints {
		cell := strings.NewReplacer("|", "\\|", "\n", " ").Replace
		fmt.Fprintf(&page, "| %s | %s | %s |\n", one.Name, cell(one.Description), cell(one.Citation))
	}
	path := filepath.Join("..", "..", "docs", "lints.md")
	if *update {
		if err := os.WriteFile(path, page.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), page.String()); diff != "" {
		t.Errorf("run go test ./internal/lint -update: %s", diff)
	}
}

// Every lint that is left out or taken over exists, and is of the source that makes a
// reason for it necessary. New lints of RFCs are run as soon as zlint has them.
func TestChoices(t *testing.T) {
	lints := zlint.GlobalRegistry().CertificateLints()
	for _, c := range LeftOut() {
		if one := lints.ByName(c.Lint); one == nil || !strings.HasPrefix(string(one.Source), "RFC") {
			t.Errorf("%s is no lint of an RFC", c.Lint)
		}
	}
	for _, c := range TakenOver() {
		if one := lints.ByName(c.Lint); one == nil || strings.HasPrefix(string(one.Source), "RFC") {
			t.Errorf("%s is no lint of another source", c.Lint)
		}
	}
}
