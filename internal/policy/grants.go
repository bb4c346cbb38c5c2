// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"

	"github.com/tallystick/tallystick/internal/problem"
)

// sorts is a set of sorts of names: bit i stands for sortVariables[i].
type sorts uint8

// sortVariables are the variables that hold the sorts of names.
var sortVariables = [...]string{"dns", "ips", "emails", "uris", "principals", "common_name"}

// sortsIn returns the sorts of names that a variable holds.
func sortsIn(variable string) sorts {
	if variable == "names" {
		return 1<<len(sortVariables) - 1
	}
	if i := slices.Index(sortVariables[:], variable); i >= 0 {
		return 1 << i
	}
	return 0
}

// variables returns the variables that hold the sorts.
func (s sorts) variables() []string {
	var list []string
	for i, variable := range sortVariables {
		if s&(1<<i) != 0 {
			list = append(list, variable)
		}
	}
	return list
}

// sorts returns those of which the request has names.
func (r *Request) sorts() sorts {
	var has sorts
	for i, count := range [...]int{len(r.DNS), len(r.IPs), len(r.Emails), len(r.URIs), len(r.Principals), len(r.CommonName)} {
		if count > 0 {
			has |= 1 << i
		}
	}
	return has
}

// grant grants the request its names, if the rule grants and says which names they may
// be for every sort that the request has. A condition about DNS names is true of a
// request without any, and of one that has a URI beside them; whoever wrote it did not
// mean to hand out every URI. Where it grants nothing its verdict tells why.
func (r *ready) grant(vars *variables, v *Verdict) {
	if !r.Grants || v.Outcome != Allowed && v.Outcome != Approval {
		return
	}
	unspoken := vars.request.sorts() &^ r.speaksOf
	if unspoken == 0 {
		vars.granted = true
		return
	}
	var left []string
	for _, variable := range unspoken.variables() {
		if value, ok := vars.ResolveName(variable); ok {
			left = append(left, variable+": "+shown(value))
		}
	}
	v.Explanation = fmt.Sprintf("it grants %s, and says nothing of %s", strings.Join(r.speaksOf.variables(), ", "), strings.Join(left, ", nor of "))
	if vars.withheld == "" {
		vars.withheld = fmt.Sprintf("; rule %s grants nothing here: %s", r.Name, v.Explanation)
	}
}

// checkGrants finds what the expressions of the rule speak of. A rule that grants and
// speaks of no names could only grant all of them, to whoever it applies to.
func (r *ready) checkGrants() error {
	for _, x := range []*expression{r.when, r.require} {
		if x != nil {
			r.speaksOf |= x.speaksOf
		}
	}
	if !r.Grants || r.speaksOf != 0 {
		return nil
	}
	return problem.With(&Error{Rule: r.Name, Text: "it grants names and does not say which"},
		"say in require what all of them must be, as in names.all(n, under(n, 'svc.lab.test'))")
}

// A speech finds the sorts of names all of which an expression speaks of.
type speech struct {
	info *ast.SourceInfo
	of   sorts
}

// hear walks through the expression. What only counts names, picks some of them, or says
// what they are not does not count: names.size() < 5 and dns.exists(n, n == 'x') leave
// open what the others are.
func (s *speech) hear(e ast.Expr) {
	switch e.Kind() {
	case ast.IdentKind:
		s.of |= sortsIn(e.AsIdent())
	case ast.ListKind:
		s.hearEach(e.AsList().Elements())
	case ast.CallKind:
		call := e.AsCall()
		switch call.FunctionName() {
		case overloads.Size, operators.Index, operators.NotEquals:
			return
		case operators.In:
			s.hear(call.Args()[0])
			return
		}
		if call.IsMemberFunction() {
			s.hear(call.Target())
		}
		s.hearEach(call.Args())
	case ast.ComprehensionKind:
		loop := e.AsComprehension()
		if macro, ok := s.info.GetMacroCall(e.ID()); ok && macro.Kind() == ast.CallKind {
			if f := macro.AsCall().FunctionName(); f == operators.All || f == operators.Map {
				s.hear(loop.IterRange())
			}
		}
		s.hear(loop.LoopStep())
	}
}

func (s *speech) hearEach(list []ast.Expr) {
	for _, e := range list {
		s.hear(e)
	}
}
