// SPDX-License-Identifier: Apache-2.0

package problem_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
)

var update = flag.Bool("update", false, "write docs/problems.md")

// causes is one error of every kind, most of them from the systems that make them.
func causes(t *testing.T) []error {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, inUse := net.Listen("tcp", listener.Addr().String())
	_, missing := os.Open(filepath.Join(t.TempDir(), "none"))
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	_, noSpace := full.WriteString("x")
	return []error{
		tallystick.ErrUnsigned, tallystick.ErrDenied, tallystick.ErrNewerData, tallystick.ErrDamaged,
		tallystick.ErrNoSpace, noSpace, inUse, tallystick.ErrInUse, tallystick.ErrBusy, tallystick.ErrConflict, tallystick.ErrInvalid, tallystick.ErrNotFound,
		&os.PathError{Op: "open", Path: "/etc/shadow", Err: syscall.EACCES}, missing,
		context.DeadlineExceeded, context.Canceled, errors.New("a surprise"),
	}
}

func TestTable(t *testing.T) {
	const want = `
not-signed-in      401 1 public
not-allowed        403 1 public
newer-data         503 1
damaged-data       500 1
no-space           507 1
no-space           507 1
address-in-use     503 1
in-use             503 1
busy               503 1
conflict           409 1
invalid            400 2 public
not-found          404 1 public
permission-denied  500 2
no-such-file       500 2
timeout            504 1
cancelled          503 1
internal           500 1
`
	got := "\n"
	for _, err := range causes(t) {
		p := problem.Of(fmt.Errorf("couldn't do it: %w", err))
		public := ""
		if p.Public().Detail != "" {
			public = " public"
		}
		got += fmt.Sprintf("%-18s %d %d%s\n", p.Kind, p.Status, p.Exit, public)
		if p.Detail != "couldn't do it: "+err.Error() {
			t.Errorf("%s: the detail is %q", p.Kind, p.Detail)
		}
		if !regexp.MustCompile(`^[A-Z].*\.$`).MatchString(p.Sentence) || http.StatusText(p.Status) == "" {
			t.Errorf("%s: %q, %d", p.Kind, p.Sentence, p.Status)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNoError(t *testing.T) {
	if p := problem.Of(nil); p != (problem.Problem{}) || p.Exit != problem.ExitOK {
		t.Errorf("%+v", p)
	}
	if err := problem.With(nil, "x"); err != nil {
		t.Error(err)
	}
}

func TestHint(t *testing.T) {
	err := problem.With(fmt.Errorf("couldn't open it: %w", tallystick.ErrNotFound), "inner")
	if p := problem.Of(fmt.Errorf("more: %w", err)); p.Hint != "inner" || p.Kind != "not-found" || p.Detail != "more: couldn't open it: not found" {
		t.Errorf("%+v", p)
	}
	if p := problem.Of(problem.With(err, "outer")); p.Hint != "outer" {
		t.Errorf("%+v", p)
	}
}

// What a driver says about its error is said in place of what is said of the kind.
func TestHintOfADriver(t *testing.T) {
	err := fmt.Errorf("couldn't look: %w", tallystick.WithHint(fmt.Errorf("%w: the directory says no", tallystick.ErrDenied), "see the option bind"))
	if p := problem.Of(err); p.Hint != "see the option bind" || p.Kind != "not-allowed" || p.Detail != "couldn't look: not allowed: the directory says no" {
		t.Errorf("%+v", p)
	}
	if p := problem.Of(problem.With(err, "outer")); p.Hint != "outer" {
		t.Errorf("%+v", p)
	}
	if tallystick.WithHint(nil, "x") != nil {
		t.Error("there is an error")
	}
}

// docs/problems.md is what the type of a problem leads to.
func TestDocument(t *testing.T) {
	var doc bytes.Buffer
	doc.WriteString(`# Problems

What can go wrong, by the name that it has in the ` + "`type`" + ` of an API error (RFC 9457), with the HTTP status and the
exit status of a command. Input that the API cannot use is always 400, whether a value, a parameter or a member of the
body is wrong, but for a body that is larger than 1 MiB (413) or not JSON by its media type (415). This page is made from
internal/problem by ` + "`go test ./internal/problem -update`" + `.
`)
	seen := map[string]bool{}
	for _, err := range causes(t) {
		p := problem.Of(err)
		if seen[p.Kind] {
			continue
		}
		seen[p.Kind] = true
		fmt.Fprintf(&doc, "\n## %s\n\n%s HTTP %d, exit status %d.\n", p.Kind, p.Sentence, p.Status, p.Exit)
		if p.Hint != "" {
			fmt.Fprintf(&doc, "\n%s\n", p.Hint)
		}
	}
	path := filepath.Join("..", "..", "docs", "problems.md")
	if *update {
		if err := os.WriteFile(path, doc.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), doc.String()); diff != "" {
		t.Errorf("run go test ./internal/problem -update: %s", diff)
	}
}
