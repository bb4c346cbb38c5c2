// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

// An expression is ready to be evaluated, and to be explained.
type expression struct {
	text     string
	program  cel.Program
	parts    *part
	speaksOf sorts // the sorts of names all of which it says something of
}

func newExpression(env *cel.Env, checked *cel.Ast, text string) (*expression, error) {
	program, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, &Error{Line: 1, Column: 1, Text: firstLine(err)}
	}
	parts, err := newPart(env, text)
	if err != nil {
		return nil, fmt.Errorf("couldn't prepare explanations: %w", err)
	}
	said := speech{info: checked.NativeRep().SourceInfo()}
	said.hear(checked.NativeRep().Expr())
	return &expression{text: text, program: program, parts: parts, speaksOf: said.of}, nil
}

// errNotBool is of an expression whose value is not true or false, which its type rules out.
var errNotBool = errors.New("its value is not true or false")

// holds evaluates the expression.
func holds(program cel.Program, vars cel.Activation) (bool, error) {
	value, _, err := program.Eval(vars)
	if err != nil {
		return false, err
	}
	is, ok := value.(types.Bool)
	if !ok {
		return false, errNotBool
	}
	return bool(is), nil
}

// judge fills in the verdict of the rule.
func (r *ready) judge(vars *variables, v *Verdict) {
	v.Rule, v.BuiltIn, v.Because, v.Citation, v.Expression = r.Name, r.builtIn, r.Because, r.Citation, r.Require
	outcome, explanation := r.outcome(vars)
	if !r.From.IsZero() && vars.request.Now.Before(r.From) {
		day := r.From.UTC().Format("2006-01-02")
		switch outcome {
		case Refused:
			explanation = "from " + day + " on it refuses this: " + explanation
		case Approval:
			explanation = "from " + day + " on it asks for approval"
		default:
			explanation = "from " + day + " on"
		}
		outcome = NotYet
	}
	v.Outcome, v.Explanation = outcome, explanation
	r.grant(vars, v)
}

// outcome is what the rule says once it holds.
func (r *ready) outcome(vars *variables) (Outcome, string) {
	if r.when != nil {
		applies, err := holds(r.when.program, vars)
		if err != nil {
			return Refused, fmt.Sprintf("whether it applies cannot be told: %s", firstLine(err))
		}
		if !applies {
			return NotApplicable, ""
		}
	}
	if r.require != nil {
		fulfilled, err := holds(r.require.program, vars)
		if err != nil {
			return Refused, fmt.Sprintf("it cannot be evaluated: %s", firstLine(err))
		}
		if !fulfilled {
			explanation := r.require.parts.explain(vars)
			if slices.Contains(r.require.parts.values, "granted") {
				explanation += vars.withheld
			}
			return Refused, explanation
		}
	}
	if r.Approve {
		return Approval, ""
	}
	return Allowed, ""
}
