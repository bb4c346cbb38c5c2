// SPDX-License-Identifier: Apache-2.0

package tallystick_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// This file holds the arrows and the house rules of docs/design/0001-the-house.md.
// A failure prints the reason; when the reason is wrong, change the design note
// and the rule together.

const module = "github.com/tallystick/tallystick"

// A goFile is a parsed source file of the module.
type goFile struct {
	path   string // "internal/store/store.go"
	dir    string // "internal/store", "." for the root
	test   bool
	lines  int
	syntax *ast.File
	fset   *token.FileSet
}

// sources parses every Go file of the module.
func sources(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		syntax, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		files = append(files, goFile{
			path: path, dir: filepath.Dir(path), test: strings.HasSuffix(path, "_test.go"),
			lines: strings.Count(string(text), "\n"), syntax: syntax, fset: fset,
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// imports returns the packages of the module that a file imports, as
// directories, and those of others by their path.
func (f goFile) imports() (ours, others []string) {
	for _, spec := range f.syntax.Imports {
		path := strings.Trim(spec.Path.Value, `"`)
		if path == module {
			ours = append(ours, ".")
		} else if rest, ok := strings.CutPrefix(path, module+"/"); ok {
			ours = append(ours, rest)
		} else {
			others = append(others, path)
		}
	}
	return ours, others
}

// An arrow says what the packages at or below a directory may import of the
// module; a trailing slash allows what is below. The first that fits counts.
type arrow struct {
	from   string
	may    []string
	reason string
}

var arrows = []arrow{
	{".", nil, "the nouns know nothing"},
	{"parse", []string{"."}, "reading foreign bytes needs only the nouns"},
	{"holder", []string{"."}, "a program that uses the holder package gets nothing else with it"},
	{"driver", []string{".", "driver", "driver/"}, "the contract of a driver speaks in nouns"},
	{"drivers/", []string{".", "parse", "driver", "driver/", "drivers/SELF"}, "a driver knows its system and nothing of Tallystick but the contract; drivers never import each other"},
	{"drivers", []string{"driver", "drivers/"}, "drivers/all.go is the only list of drivers"},
	{"rule", []string{".", "parse", "rule", "rule/"}, "the contract of a rule speaks in nouns"},
	{"rules", []string{".", "parse", "rule", "rule/", "rules/"}, "a rule judges what it is shown; it cannot look for itself"},
	{"internal/problem", []string{"."}, "what an error is to its readers depends on the error alone"},
	{"internal/config", []string{".", "driver", "internal/config", "internal/problem"}, "the configuration is data"},
	{"internal/store", []string{".", "internal/store", "internal/store/"}, "the store knows no feature"},
	{"internal/demo", []string{".", "driver", "driver/", "holder", "internal/lab", "internal/lab/entra"}, "the demo plays the world, and knows Tallystick as its users do"},
	{"internal/server", []string{".", "driver", "rule", "internal/"}, "the server calls features; only cmd knows drivers"},
	{"internal/web", []string{".", "driver", "rule", "internal/"}, "pages call features; only cmd knows drivers"},
	{"internal/lab/entra", nil, "the emulator is written to Microsoft's documents and shares nothing with what it tests"},
	{"internal/reconcile", []string{".", "holder", "internal/tally", "internal/uses"}, "the books that it reads are those that package holder writes"},
	{"internal/sources", []string{".", "driver", "holder", "internal/"}, "the books that are delivered are those that package holder writes"},
	{"internal/", []string{".", "parse", "driver", "driver/", "rule", "rules", "internal/"}, "features know contracts, not drivers"},
	{"cmd/", []string{".", "parse", "holder", "driver", "driver/", "drivers", "rule", "rules", "internal/", "cmd/"}, "only cmd puts everything together"},
	{"bench/", []string{".", "parse", "driver", "drivers", "drivers/", "rule", "rules", "rules/", "internal/"}, "a benchmark measures anything"},
}

func TestArrows(t *testing.T) {
	for _, f := range sources(t) {
		if f.test {
			continue // tests may use any suite
		}
		i := slices.IndexFunc(arrows, func(a arrow) bool {
			return f.dir == a.from || strings.HasSuffix(a.from, "/") && strings.HasPrefix(f.dir, a.from) ||
				!strings.HasSuffix(a.from, "/") && a.from != "." && a.from != "drivers" && strings.HasPrefix(f.dir, a.from+"/")
		})
		if i < 0 {
			t.Errorf("%s: directory %s has no arrow: say in arch_test.go what it may import, and why", f.path, f.dir)
			continue
		}
		ours, _ := f.imports()
		for _, imported := range ours {
			if !allowed(arrows[i].may, f.dir, imported) {
				t.Errorf("%s imports %s: %s", f.path, imported, arrows[i].reason)
			}
		}
	}
}

func allowed(may []string, from, imported string) bool {
	return slices.ContainsFunc(may, func(m string) bool {
		if m == "drivers/SELF" {
			return imported == from || strings.HasPrefix(imported, strings.Join(strings.Split(from, "/")[:2], "/")+"/")
		}
		return imported == m || strings.HasSuffix(m, "/") && strings.HasPrefix(imported, m)
	})
}

func TestFeaturesDoNotImportTheEdge(t *testing.T) {
	for _, f := range sources(t) {
		ours, _ := f.imports()
		edge := f.dir == "internal/server" || f.dir == "internal/web" || strings.HasPrefix(f.dir, "cmd/")
		for _, imported := range ours {
			if !f.test && !edge && (imported == "internal/server" || imported == "internal/web") {
				t.Errorf("%s imports %s: data flows from features to pages, never back", f.path, imported)
			}
		}
	}
}

func TestCommandsDoNotImportPages(t *testing.T) {
	for _, f := range sources(t) {
		if ours, _ := f.imports(); strings.HasPrefix(f.dir, "cmd/") && slices.Contains(ours, "internal/web") {
			t.Errorf("%s imports internal/web: commands call features; pages are for the server", f.path)
		}
	}
}

// A server never runs an emulator: what a person sees of a tenant is that tenant.
func TestOnlyTestsAndTheDemoKnowTheEmulator(t *testing.T) {
	for _, f := range sources(t) {
		ours, _ := f.imports()
		demo := strings.HasPrefix(f.path, "cmd/tally/demo") || f.dir == "internal/demo" || strings.HasPrefix(f.dir, "bench/")
		for _, imported := range ours {
			if !f.test && !demo && (imported == "internal/lab/entra" || imported == "internal/demo") {
				t.Errorf("%s imports %s: the emulator is for tests and for tally demo alone", f.path, imported)
			}
		}
	}
}

func TestRootImportsTheStandardLibraryOnly(t *testing.T) {
	for _, f := range sources(t) {
		if _, others := f.imports(); f.dir == "." && !f.test {
			for _, path := range others {
				if strings.Contains(strings.Split(path, "/")[0], ".") {
					t.Errorf("%s imports %s: the nouns have no dependencies", f.path, path)
				}
			}
		}
	}
}

// longFiles and longFunctions are exceptions from the bounds, each with its reason.
var (
	longFiles     = map[string]string{}
	longFunctions = map[string]string{}
)

const (
	maxFileLines     = 600
	maxFunctionLines = 80
)

func TestSizes(t *testing.T) {
	for _, f := range sources(t) {
		if f.lines > maxFileLines && longFiles[f.path] == "" {
			t.Errorf("%s has %d lines, the bound is %d: it has more than one job", f.path, f.lines, maxFileLines)
		}
		for _, decl := range f.syntax.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || f.test {
				continue
			}
			lines := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line
			if lines > maxFunctionLines && longFunctions[f.path+":"+fn.Name.Name] == "" {
				t.Errorf("%s: %s has %d lines, the bound is %d", f.path, fn.Name.Name, lines, maxFunctionLines)
			}
		}
	}
}

func TestNothingStartsByItself(t *testing.T) {
	for _, f := range sources(t) {
		for _, decl := range f.syntax.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function: what happens at start happens in main", f.path)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	docs, first := map[string]int{}, map[string]string{}
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		first[f.dir] = f.path
		if f.syntax.Doc != nil && strings.Contains(f.syntax.Doc.Text(), " ") && !strings.HasPrefix(f.syntax.Doc.Text(), "SPDX") {
			docs[f.dir]++
		}
	}
	for dir := range first {
		if docs[dir] != 1 {
			t.Errorf("package %s has %d package comments, want one", dir, docs[dir])
		}
	}
}

func TestEveryFileNamesItsLicence(t *testing.T) {
	for _, f := range sources(t) {
		if len(f.syntax.Comments) == 0 || f.syntax.Comments[0].Text() == "" && f.syntax.Comments[0].List[0].Text != "// SPDX-License-Identifier: Apache-2.0" {
			t.Errorf("%s does not begin with // SPDX-License-Identifier: Apache-2.0", f.path)
			continue
		}
		if f.syntax.Comments[0].List[0].Text != "// SPDX-License-Identifier: Apache-2.0" {
			t.Errorf("%s does not begin with // SPDX-License-Identifier: Apache-2.0", f.path)
		}
	}
}

var leftOver = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)

func TestNoLeftOvers(t *testing.T) {
	for _, f := range sources(t) {
		if f.path == "arch_test.go" {
			continue
		}
		for _, group := range f.syntax.Comments {
			if leftOver.MatchString(group.Text()) {
				t.Errorf("%s: a left-over: do it, or write it down where the work is planned", f.fset.Position(group.Pos()))
			}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && strings.HasPrefix(sel.Sel.Name, "Skip") && f.test {
				if x, ok := sel.X.(*ast.Ident); ok && (x.Name == "t" || x.Name == "b") {
					t.Errorf("%s: a test that is skipped is a failure", f.fset.Position(n.Pos()))
				}
			}
			return true
		})
	}
}

// Package-level variables hold what never changes: errors, patterns, embedded
// files and tables.
func TestNoGlobalState(t *testing.T) {
	var assigned = map[string]bool{}
	files := sources(t)
	for _, f := range files {
		if f.test {
			continue
		}
		globals := map[string]token.Pos{}
		for _, decl := range f.syntax.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR {
				continue
			}
			for _, spec := range gen.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					globals[name.Name] = name.Pos()
				}
			}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			assign, ok := n.(*ast.AssignStmt)
			if !ok || assign.Tok == token.DEFINE {
				return true
			}
			for _, left := range assign.Lhs {
				if index, ok := left.(*ast.IndexExpr); ok {
					left = index.X
				}
				if id, ok := left.(*ast.Ident); ok && globals[id.Name] != 0 && id.Obj != nil && id.Obj.Pos() == globals[id.Name] {
					assigned[f.path+": "+id.Name] = true
				}
			}
			return true
		})
	}
	for name := range assigned {
		t.Errorf("%s is a package-level variable that changes: state belongs to values that main makes", name)
	}
}

func TestEveryDriverIsListedAndTested(t *testing.T) {
	list, err := os.ReadFile("drivers/all.go")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("drivers")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		if !strings.Contains(string(list), `"`+module+"/drivers/"+entry.Name()+`"`) {
			t.Errorf("drivers/%s is not in drivers/all.go", entry.Name())
		}
		tests, err := filepath.Glob("drivers/" + entry.Name() + "/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(tests, func(path string) bool {
			text, err := os.ReadFile(path)
			return err == nil && strings.Contains(string(text), "drivertest.Run(")
		}) {
			t.Errorf("drivers/%s does not run the suite of driver/drivertest", entry.Name())
		}
	}
}

// workplace matches what belongs to a machine and not to the project.
var workplace = regexp.MustCompile(`(^|[^a-z])/work/|proxy\.golang\.org|farm-|helper-\d`)

func TestNothingNamesTheWorkplace(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == "arch_test.go" || strings.HasPrefix(path, ".git/") {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil && workplace.Match(text) && !strings.HasSuffix(path, ".png") && path != "go.sum" && path != "tally" {
			t.Errorf("%s names somebody's workplace", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
