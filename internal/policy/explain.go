// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/parser"
)

// A part of an expression explains why it is not so: a conjunction by those of its
// parts that are false, a look through a list by the items for which it is false, and
// anything else by its text and the values in it.
type part struct {
	kind     string // operators.LogicalAnd, LogicalOr, "all", "exists"; "" is anything else
	text     string
	program  cel.Program
	children []*part  // of "all" and "exists": the condition
	list     *part    // of "all" and "exists": the list
	item     string   // and what an item of it is called
	values   []string // names of the variables in it
}

// newPart prepares the explanation of an expression that compiles.
func newPart(env *cel.Env, text string) (*part, error) {
	compiled, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	whole := compiled.NativeRep()
	e := whole.Expr()
	plain, err := parser.Unparse(e, whole.SourceInfo())
	if err != nil {
		return nil, err
	}
	p := &part{text: strings.Join(strings.Fields(plain), " "), values: variablesIn(e)}
	if p.program, err = env.Program(compiled, cel.EvalOptions(cel.OptOptimize)); err != nil {
		return nil, err
	}
	switch e.Kind() {
	case ast.CallKind:
		f := e.AsCall().FunctionName()
		if f != operators.LogicalAnd && f != operators.LogicalOr {
			break
		}
		p.kind = f
		for _, arg := range e.AsCall().Args() {
			child, err := subPart(env, arg, whole)
			if err != nil {
				return nil, err
			}
			p.children = append(p.children, child)
		}
	case ast.ComprehensionKind:
		return p, p.lookThrough(env, e, whole)
	}
	return p, nil
}

// subPart prepares the explanation of what is inside of an expression, by its text:
// what CEL keeps of a macro is not what it is evaluated by.
func subPart(env *cel.Env, e ast.Expr, whole *ast.AST) (*part, error) {
	text, err := parser.Unparse(e, whole.SourceInfo())
	if err != nil {
		return nil, err
	}
	return newPart(env, text)
}

// lookThrough prepares the explanation of list.all(item, condition) and
// list.exists(item, condition).
func (p *part) lookThrough(env *cel.Env, e ast.Expr, whole *ast.AST) error {
	macro, ok := whole.SourceInfo().GetMacroCall(e.ID())
	if !ok || macro.Kind() != ast.CallKind || len(macro.AsCall().Args()) != 2 {
		return nil
	}
	call := macro.AsCall()
	of := whole.GetType(e.AsComprehension().IterRange().ID())
	if f := call.FunctionName(); f != "all" && f != "exists" || of.Kind() != types.ListKind {
		return nil
	}
	item := e.AsComprehension().IterVar()
	inner, err := env.Extend(cel.Variable(item, of.Parameters()[0]))
	if err != nil {
		return err
	}
	list, err := subPart(env, e.AsComprehension().IterRange(), whole)
	if err != nil {
		return err
	}
	condition, err := subPart(inner, call.Args()[1], whole)
	if err != nil {
		return err
	}
	p.kind, p.item, p.list, p.children = call.FunctionName(), item, list, []*part{condition}
	return nil
}

// variablesIn returns the names of the variables in an expression, in order. Those of
// items of lists in it have no value outside of them, and are not found when asked for.
func variablesIn(e ast.Expr) []string {
	var names []string
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.IdentKind && !slices.Contains(names, e.AsIdent()) {
			names = append(names, e.AsIdent())
		}
	}))
	return names
}

// Bounds of explanations.
const (
	maxShown  = 3  // items of a list, values of a list
	maxQuoted = 80 // bytes of a text
)

// explain says why the part is false of these values.
func (p *part) explain(vars cel.Activation) string {
	switch p.kind {
	case operators.LogicalAnd, operators.LogicalOr:
		var texts []string
		for _, child := range p.children {
			if is, err := holds(child.program, vars); err == nil && !is {
				texts = append(texts, child.explain(vars))
			}
		}
		if len(texts) > 0 {
			return strings.Join(texts, map[string]string{operators.LogicalAnd: "; ", operators.LogicalOr: ", and "}[p.kind])
		}
	case "all":
		if text := p.explainAll(vars); text != "" {
			return text
		}
	case "exists":
		if list := p.list.value(vars); list != nil {
			return fmt.Sprintf("no %s of %s has %s: %s", p.item, p.list.text, p.children[0].text, shown(list))
		}
	}
	return p.text + " is false" + p.valuesOf(vars)
}

// explainAll names the items for which the condition is false.
func (p *part) explainAll(vars cel.Activation) string {
	list, ok := p.list.value(vars).(traits.Lister)
	if !ok {
		return ""
	}
	first, count := "", 0
	for it := list.Iterator(); it.HasNext() == types.True; {
		with := &binding{Activation: vars, name: p.item, value: it.Next()}
		is, err := holds(p.children[0].program, with)
		if err != nil || is {
			continue
		}
		if count++; count == 1 {
			first = p.children[0].explain(with)
		}
	}
	switch count {
	case 0:
		return ""
	case 1:
		return first
	}
	return fmt.Sprintf("%s; and so for %d more of %s", first, count-1, p.list.text)
}

// value evaluates the part; nil when it cannot be.
func (p *part) value(vars cel.Activation) ref.Val {
	value, _, err := p.program.Eval(vars)
	if err != nil {
		return nil
	}
	return value
}

// valuesOf writes the values of the variables in the part.
func (p *part) valuesOf(vars cel.Activation) string {
	var texts []string
	for _, name := range p.values {
		value, ok := vars.ResolveName(name)
		if ok && name != p.text && name != "proven" && name != "granted" {
			texts = append(texts, name+" is "+shown(value))
		}
	}
	if len(texts) == 0 {
		return ""
	}
	return ", where " + strings.Join(texts, " and ")
}

// shown writes a value for people.
func shown(value any) string {
	switch v := value.(type) {
	case types.String:
		return quoted(string(v))
	case types.Duration:
		return hours(v.Duration)
	case types.Timestamp:
		return v.UTC().Format(time.RFC3339)
	case traits.Lister:
		var texts []string
		size, _ := v.Size().Value().(int64)
		for it := v.Iterator(); it.HasNext() == types.True && len(texts) < maxShown; {
			texts = append(texts, shown(it.Next()))
		}
		if more := int(size) - len(texts); more > 0 {
			texts = append(texts, fmt.Sprintf("and %d more", more))
		}
		if size == 0 {
			return "empty"
		}
		return strings.Join(texts, ", ")
	case ref.Val:
		return fmt.Sprint(v.Value())
	}
	return fmt.Sprint(value)
}

// quoted writes a text that a stranger chose.
func quoted(text string) string {
	if len(text) > maxQuoted {
		return fmt.Sprintf("%q...", strings.ToValidUTF8(text[:maxQuoted], ""))
	}
	return fmt.Sprintf("%q", text)
}

// hours writes a duration as people configure it: 48h rather than 48h0m0s.
func hours(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// A binding is the values of the request with an item of a list.
type binding struct {
	cel.Activation
	name  string
	value ref.Val
}

// ResolveName implements cel.Activation.
func (b *binding) ResolveName(name string) (any, bool) {
	if name == b.name {
		return b.value, true
	}
	return b.Activation.ResolveName(name)
}
