// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// cases returns the members that the switches of functions of entra.go name.
func cases(t *testing.T, functions ...string) (keys []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "entra.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range file.Decls {
		if fn, ok := decl.(*ast.FuncDecl); !ok || !slices.Contains(functions, fn.Name.Name) {
			continue
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			one, ok := n.(*ast.CaseClause)
			if !ok {
				return true
			}
			for _, e := range one.List {
				key, err := strconv.Unquote(e.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				keys = append(keys, key)
			}
			return true
		})
	}
	slices.Sort(keys)
	return keys
}

// What graphWanted does not name is stepped over before graphMember sees it, and
// what only it names is read for nothing.
func TestWhatIsWantedOfASignInIsTaken(t *testing.T) {
	taken := cases(t, "graphMember", "graphRest")
	if len(taken) < 20 {
		t.Fatalf("only %d members were found: %v", len(taken), taken)
	}
	if d := cmp.Diff(taken, cases(t, "graphWanted")); d != "" {
		t.Error(d)
	}
	for _, name := range cases(t, "statusMember") {
		if !statusWanted(name) {
			t.Errorf("%s of a status is never read", name)
		}
	}
}
