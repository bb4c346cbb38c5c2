// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common/ast"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
)

// Bounds of expressions. They hold for every request that Decide lets through, so
// that a decision needs no clock to be cut short by.
const (
	// MaxExpression is the length of the longest expression, in bytes.
	MaxExpression = 2000
	// MaxRules is how many rules a policy may have.
	MaxRules = 500
	// maxCost is what CEL estimates the dearest evaluation to cost. A unit takes some
	// ten nanoseconds; to compare each of 256 names with each other takes 65,536 of
	// the cheapest comparisons.
	maxCost    = 1_000_000
	maxNodes   = 1000
	maxDepth   = 50
	maxPattern = 1000 // instructions of a regular expression
)

// An Error is what is wrong with an expression of a rule. It is ErrInvalid.
type Error struct {
	Rule   string
	Part   string // "when", "require", or "" for the rule as a whole
	Line   int    // from 1; 0 when the place is not known
	Column int    // in characters, from 1
	Text   string
}

// Error says which rule, where in it, and what.
func (e *Error) Error() string {
	at := "rule " + e.Rule
	if e.Part != "" {
		at += ", " + e.Part
	}
	switch {
	case e.Line > 1:
		at += fmt.Sprintf(", line %d, column %d", e.Line, e.Column)
	case e.Line == 1:
		at += fmt.Sprintf(", column %d", e.Column)
	}
	return at + ": " + e.Text
}

// Unwrap makes it ErrInvalid.
func (e *Error) Unwrap() error { return tallystick.ErrInvalid }

// A ready rule is one that was compiled.
type ready struct {
	Rule
	builtIn       bool
	when, require *expression // nil where there is none
	speaksOf      sorts       // what it can grant
}

// Compile reads the rules, and adds those of BuiltIn that have no namesake among them.
// The error joins an *Error for each rule that cannot be used, with hints.
func Compile(rules []Rule) (*Policy, error) {
	if len(rules) > MaxRules {
		return nil, fmt.Errorf("%w: a policy has at most %d rules", tallystick.ErrInvalid, MaxRules)
	}
	env, err := newEnv()
	if err != nil {
		return nil, fmt.Errorf("couldn't set up CEL: %w", err)
	}
	p := &Policy{}
	var wrong []error
	seen := map[string]bool{}
	add := func(r Rule, builtIn bool) {
		one := &ready{Rule: r, builtIn: builtIn}
		if seen[r.Name] || r.Name == "" || r.Name == boundsRule {
			wrong = append(wrong, &Error{Rule: r.Name, Text: "a rule has a name of its own"})
			return
		}
		seen[r.Name] = true
		if err := one.compile(env); err != nil {
			wrong = append(wrong, err)
		}
		p.rules = append(p.rules, one)
	}
	builtIn := BuiltIn()
	var last []Rule // those that take the place of a built-in rule stand where that would
	for _, r := range rules {
		if isOneOf(builtIn, r.Name) {
			last = append(last, r)
		} else {
			add(r, false)
		}
	}
	for _, b := range builtIn {
		replaced := false
		for _, r := range last {
			if r.Name == b.Name {
				replaced = true
				add(r, false)
			}
		}
		if !replaced {
			add(b, true)
		}
	}
	if wrong != nil {
		return nil, errors.Join(wrong...)
	}
	return p, nil
}

func isOneOf(rules []Rule, name string) bool {
	for _, r := range rules {
		if r.Name == name {
			return true
		}
	}
	return false
}

// compile compiles both expressions of the rule.
func (r *ready) compile(env *cel.Env) error {
	if r.Require == "" && !r.Approve {
		return &Error{Rule: r.Name, Text: "it requires nothing and asks for no approval, so that it does nothing"}
	}
	var errs []error
	for _, part := range []struct {
		name, text string
		to         **expression
	}{{"when", r.When, &r.when}, {"require", r.Require, &r.require}} {
		if strings.TrimSpace(part.text) == "" {
			continue
		}
		x, err := compileExpression(env, part.text)
		if wrong, ok := errors.AsType[*Error](err); ok {
			wrong.Rule, wrong.Part = r.Name, part.name
		}
		if err != nil {
			errs = append(errs, err)
		}
		*part.to = x
	}
	if errs == nil {
		return r.checkGrants()
	}
	return errors.Join(errs...)
}

// newEnv returns what expressions are compiled in.
func newEnv() (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.EnableMacroCallTracking(), // for the explanations
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(MaxExpression),
		cel.ParserRecursionLimit(maxDepth),
		cel.ExpressionNodeLimit(maxNodes),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals()),
	}
	for _, v := range Variables() {
		options = append(options, cel.Variable(v.Name, typeOf(v.Type)))
	}
	return cel.NewEnv(append(options, declarations()...)...)
}

// compileExpression compiles a text, and what explains it. A panic of the library is
// an error, because the text is a stranger's.
func compileExpression(env *cel.Env, text string) (x *expression, err error) {
	defer func() {
		if r := recover(); r != nil {
			x, err = nil, &Error{Text: "CEL cannot cope with this expression"}
		}
	}()
	if len(text) > MaxExpression {
		return nil, problem.With(&Error{Text: fmt.Sprintf("the expression has more than %d bytes", MaxExpression)}, "split it into several rules")
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, issueError(issues)
	}
	if checked.OutputType() != cel.BoolType {
		return nil, problem.With(&Error{Line: 1, Column: 1, Text: fmt.Sprintf("it is of type %s, and must be true or false", checked.OutputType())},
			"compare it with something, as in lifetime <= duration('72h')")
	}
	if err := cmp.Or(checkLiterals(checked), checkItems(checked)); err != nil {
		return nil, err
	}
	estimate, err := env.EstimateCost(checked, estimator{})
	if err != nil {
		return nil, &Error{Line: 1, Column: 1, Text: "what it costs cannot be told: " + firstLine(err)}
	}
	if estimate.Max > maxCost {
		return nil, problem.With(&Error{Line: 1, Column: 1, Text: "it could take too long: it goes through lists inside of lists, or through texts of any length"},
			"compare each name with fixed texts, as in dns.all(n, under(n, 'lab.test'))")
	}
	return newExpression(env, checked, text)
}

// noReference is how CEL complains about an unknown word.
var noReference = regexp.MustCompile(`undeclared reference to '([^']*)'`)

// issueError makes an Error of the first complaint of CEL.
func issueError(issues *cel.Issues) error {
	list := issues.Errors()
	if len(list) == 0 {
		return &Error{Text: firstLine(issues.Err())}
	}
	first := list[0]
	e := &Error{Text: firstLine(errors.New(first.Message))}
	if first.Location.Line() > 0 {
		e.Line, e.Column = first.Location.Line(), first.Location.Column()+1
	}
	if m := noReference.FindStringSubmatch(first.Message); m != nil {
		e.Text = fmt.Sprintf("there is no %.40q", m[1])
		return problem.With(e, hintFor(m[1]))
	}
	return problem.With(e, "docs/policy.md says how expressions are written")
}

// hintFor says what may have been meant by an unknown word.
func hintFor(word string) string {
	var known []string
	for _, v := range Variables() {
		known = append(known, v.Name)
	}
	variables := strings.Join(known, ", ")
	for _, f := range Functions() {
		known = append(known, f.Name)
	}
	if near := problem.Nearest(word, known); near != "" {
		return "did you mean " + near + "?"
	}
	return "the variables are " + variables
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	if len(line) > 200 {
		line = line[:200] + "..."
	}
	return strings.ToValidUTF8(line, "?")
}

// checkLiterals refuses networks that are none, which would otherwise show when a
// certificate is asked for, and regular expressions that are not written out, which a
// requester could choose.
func checkLiterals(checked *cel.Ast) error {
	var wrong error
	rep := checked.NativeRep()
	at := func(e ast.Expr, text string) {
		if wrong == nil {
			place := rep.SourceInfo().GetStartLocation(e.ID())
			wrong = &Error{Line: max(place.Line(), 1), Column: place.Column() + 1, Text: text}
		}
	}
	ast.PostOrderVisit(rep.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		call := e.AsCall()
		args := call.Args()
		if call.IsMemberFunction() {
			args = append([]ast.Expr{call.Target()}, args...)
		}
		if len(args) != 2 {
			return
		}
		text, literal := literalText(args[1])
		switch call.FunctionName() {
		case "matches":
			if !literal {
				at(args[1], "the pattern of matches must be written out")
			} else if patternSize(text) > maxPattern {
				at(args[1], "the pattern is too complicated")
			}
		case "inside":
			if _, err := parseNetwork(text); literal && err != nil {
				at(args[1], err.Error())
			}
		}
	}))
	return wrong
}

// checkItems refuses items of lists that are called like one of our variables, which
// would hide it from the explanations, and from whoever reads the rule.
func checkItems(checked *cel.Ast) error {
	var wrong error
	rep := checked.NativeRep()
	ast.PostOrderVisit(rep.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.ComprehensionKind || wrong != nil {
			return
		}
		item := e.AsComprehension().IterVar()
		if slices.ContainsFunc(Variables(), func(v Variable) bool { return v.Name == item }) {
			place := rep.SourceInfo().GetStartLocation(e.ID())
			wrong = problem.With(&Error{Line: max(place.Line(), 1), Column: place.Column() + 1, Text: item + " is a variable, and cannot be an item of a list"},
				"call the item something else, as in names.all(n, n != '')")
		}
	}))
	return wrong
}

// patternSize returns how many instructions a regular expression has, whose
// evaluation takes that many steps for each character at most.
func patternSize(text string) int {
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return maxPattern + 1
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return maxPattern + 1
	}
	return len(program.Inst)
}

func literalText(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok := e.AsLiteral().Value().(string)
	return text, ok
}

// estimator tells CEL how large the variables can be, and what our functions cost.
type estimator struct{}

// EstimateSize returns the bounds that Decide holds requests to.
func (estimator) EstimateSize(element checker.AstNode) *checker.SizeEstimate {
	path := element.Path()
	switch {
	case len(path) == 1 && element.Type().Kind() == cel.ListKind:
		return &checker.SizeEstimate{Max: maxNames}
	case len(path) > 0 && element.Type().Kind() == cel.StringKind:
		return &checker.SizeEstimate{Max: maxText}
	}
	return nil
}

// EstimateCallCost returns what a call of our functions costs: about as much as
// comparing texts does, and for a pattern with the product of the lengths.
func (estimator) EstimateCallCost(function, _ string, _ *checker.AstNode, args []checker.AstNode) *checker.CallEstimate {
	switch function {
	case "under", "inside", "hostname":
		return &checker.CallEstimate{CostEstimate: checker.CostEstimate{Min: 1, Max: 10}}
	case "glob":
		pattern := uint64(maxText)
		if len(args) == 2 {
			if text, ok := literalText(args[1].Expr()); ok {
				pattern = uint64(len(text))
			}
		}
		return &checker.CallEstimate{CostEstimate: checker.CostEstimate{Min: 1, Max: 10 + 20*pattern}}
	}
	return nil
}
