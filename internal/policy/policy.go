// SPDX-License-Identifier: Apache-2.0

// Package policy decides whether a certificate may be issued, by rules that are
// written as CEL expressions (https://cel.dev) and cite where they come from. It
// decides on what it is shown alone: it reads no clock, no network and no store,
// so that the same request can be tried before it is made.
//
// A rule applies to the requests for which its When is true, and its Require must be
// true of them. All rules that apply must agree. Some rules are built in, see BuiltIn;
// one of them refuses what nobody has proven or granted, so that an empty policy gives
// nothing away. A rule that cannot be evaluated refuses.
//
// docs/policy.md is for those who write rules.
package policy

import (
	"fmt"
	"strings"
	"time"
)

// A Request is what the rules see, as variables; see Variables.
type Request struct {
	Who       string   // who asks: name of a person, token, account
	Role      string   // client, viewer, operator, admin
	Via       string   // api, acme, est, ssh, spiffe, renewal, local
	Authority string   // the CA that is asked
	Profile   string   // what for
	DNS       []string // names, lower case, without a final dot
	IPs       []string // canonical text
	Emails    []string
	URIs      []string
	// Principals are those of an SSH certificate, and Kerberos names.
	Principals []string
	CommonName string
	Proven     bool // whoever asks has shown control of every name
	KeyType    string
	KeyID      string // SHA-256 of the SubjectPublicKeyInfo, hexadecimal
	Lifetime   time.Duration
	Renewal    bool   // it takes the place of an earlier one of the same requester
	Binding    string // of ACME: the external account that was bound
	Now        time.Time
}

// A Rule is one condition for a certificate.
type Rule struct {
	Name    string // what decisions call it; unique
	When    string // CEL; the rule applies where it is true; "" is always
	Require string // CEL; what must be true then; "" is nothing
	Approve bool   // a request that fulfils it waits for somebody's word
	// Grants is whether a request that fulfils it need not be proven; see BuiltIn. It holds
	// for requests alone that have no sort of names of which When and Require say nothing.
	Grants   bool
	Because  string // for whoever is refused
	Citation string
	From     time.Time // it holds from then on; zero is always
}

// An Outcome is what a rule says of a request.
type Outcome string

// The outcomes.
const (
	Allowed       Outcome = "allowed"
	Refused       Outcome = "refused"
	Approval      Outcome = "approval"       // allowed once somebody approves
	NotApplicable Outcome = "not-applicable" // the rule is about other requests
	NotYet        Outcome = "not-yet"        // the rule holds from a later day on
)

// A Verdict is what one rule says of a request.
type Verdict struct {
	Rule       string  `json:"rule"`
	BuiltIn    bool    `json:"built_in,omitempty"`
	Outcome    Outcome `json:"outcome"`
	Because    string  `json:"because,omitempty"`
	Citation   string  `json:"citation,omitempty"`
	Expression string  `json:"expression,omitempty"` // what is required
	// Explanation says which part of the expression is not so, with the values that
	// make it so; of a rule that does not hold yet, what it will say; of one that would
	// grant, why it does not.
	Explanation string `json:"explanation,omitempty"`
}

// why is the verdict of a rule that refused, in one line.
func (v Verdict) why() string {
	switch {
	case v.Because == "":
		return fmt.Sprintf("rule %s: %s", v.Rule, v.Explanation)
	case v.Explanation == "":
		return v.Because
	}
	return v.Because + ": " + v.Explanation
}

// A Decision is what the policy says of a request.
type Decision struct {
	Allowed       bool      `json:"allowed"`
	NeedsApproval bool      `json:"needs_approval,omitempty"` // allowed, and only with somebody's word
	Verdicts      []Verdict `json:"verdicts"`                 // of all rules, in the order of the policy
}

// Why says in one line why the request is refused, or who wants it approved; "" when
// it is simply allowed.
func (d Decision) Why() string {
	var parts []string
	for _, v := range d.Verdicts {
		switch {
		case !d.Allowed && v.Outcome == Refused:
			parts = append(parts, v.why())
		case d.Allowed && v.Outcome == Approval && v.Because != "":
			parts = append(parts, v.Because)
		case d.Allowed && v.Outcome == Approval:
			parts = append(parts, fmt.Sprintf("rule %s asks for approval", v.Rule))
		}
	}
	return strings.Join(parts, "; ")
}

// A Policy is rules that are ready to be used. Make one with Compile. It never changes;
// Decide may be called from several goroutines.
type Policy struct{ rules []*ready }

// Decide asks every rule. It is a pure function of the policy and the request, and
// its time is bounded by what Compile let through.
func (p *Policy) Decide(r Request) Decision {
	if why := r.tooLarge(); why != "" {
		return Decision{Verdicts: []Verdict{{Rule: boundsRule, BuiltIn: true, Outcome: Refused, Because: "no rule looks at requests of any size", Explanation: why}}}
	}
	d := Decision{Allowed: true, Verdicts: make([]Verdict, len(p.rules))}
	vars := &variables{request: &r}
	for i, rule := range p.rules {
		v := &d.Verdicts[i]
		rule.judge(vars, v)
		switch v.Outcome {
		case Refused:
			d.Allowed = false
		case Approval:
			d.NeedsApproval = true
		}
	}
	d.NeedsApproval = d.NeedsApproval && d.Allowed
	return d
}

// Rules returns the rules in the order in which they are asked, those that are built
// in last.
func (p *Policy) Rules() []Rule {
	var rules []Rule
	for _, r := range p.rules {
		rules = append(rules, r.Rule)
	}
	return rules
}

// Bounds of a request, on which the bounds of the cost of expressions rest.
const (
	maxNames = 256  // of each sort, and in all
	maxText  = 2048 // bytes of each
)

// boundsRule is the name of the rule that is not written in CEL.
const boundsRule = "request-bounded"

// tooLarge says what is too large about a request, "" when nothing is.
func (r *Request) tooLarge() string {
	count := len(r.DNS) + len(r.IPs) + len(r.Emails) + len(r.URIs) + len(r.Principals) + 1
	if count > maxNames {
		return fmt.Sprintf("it has more than %d names", maxNames-1)
	}
	for _, list := range [...][]string{r.DNS, r.IPs, r.Emails, r.URIs, r.Principals,
		{r.Who, r.Role, r.Via, r.Authority, r.Profile, r.CommonName, r.KeyType, r.KeyID, r.Binding}} {
		for _, text := range list {
			if len(text) > maxText {
				return fmt.Sprintf("it has a text of more than %d bytes", maxText)
			}
		}
	}
	return ""
}
