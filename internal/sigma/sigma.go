// SPDX-License-Identifier: Apache-2.0

// Package sigma reads and evaluates rules in the Sigma format, version 2.1
// (SigmaHQ/sigma-specification): single rules and correlations.
//
// Compile turns the text of a rule file into rules. A rule that uses something
// this package does not know is refused with its name, the thing and the place,
// and never evaluated in part: a detection that silently ignores half of itself
// is worse than none. A Set evaluates many rules over a stream of events.
//
// Rules and events are both written by strangers. Reading a rule takes bounded
// memory; matching one takes time in proportion to the event, because regular
// expressions run on package regexp.
package sigma

import (
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// Options say how rules are read.
type Options struct {
	// Name is what errors call the file.
	Name string
	// Placeholders are the values of %name% for the modifier expand, by name. A
	// rule with a placeholder that is not here is refused.
	Placeholders map[string][]string
	// Normalise compares the text of every rule normalised (see normalise); a
	// rule can ask for it itself with the attribute "normalise: true".
	Normalise bool
	// MappedOnly refuses rules with fields that are no member of a use of their
	// log: without the record as it was written they would never be there.
	MappedOnly bool
	// AnyLogSource takes rules about log sources that have no map here; their
	// fields are members of the record as it was written.
	AnyLogSource bool
}

// A LogSource says which events a rule is about. A part that is "" is any.
type LogSource struct {
	Product  string `json:"product,omitempty"`
	Category string `json:"category,omitempty"`
	Service  string `json:"service,omitempty"`
}

// Covers says whether a rule about l is about events of source.
func (l LogSource) Covers(source LogSource) bool {
	return (l.Product == "" || l.Product == source.Product) && (l.Category == "" || l.Category == source.Category) &&
		(l.Service == "" || l.Service == source.Service)
}

// String returns it as "product: aws, service: cloudtrail".
func (l LogSource) String() string {
	var parts []string
	for _, part := range [][2]string{{"product", l.Product}, {"category", l.Category}, {"service", l.Service}} {
		if part[1] != "" {
			parts = append(parts, part[0]+": "+part[1])
		}
	}
	return strings.Join(parts, ", ")
}

// A Rule is a rule that can be evaluated, with all that its author says of it.
type Rule struct {
	Title, ID, Name, Status, Level           string
	Description, Author, License             string
	Date, Modified                           string // as written, YYYY-MM-DD
	Tags, References, FalsePositives, Fields []string
	LogSource                                LogSource
	// Correlation is what a correlation rule says; nil for a rule about one event.
	Correlation *Correlation
	// Place is where the rule begins, as "file:line:column".
	Place string

	matches    node // of a rule about one event
	fieldMap   *fieldMap
	mappedOnly bool
	normalised bool
}

// Label is the title of the rule, or what else names it.
func (r *Rule) Label() string {
	for _, name := range []string{r.Title, r.Name, r.ID} {
		if name != "" {
			return name
		}
	}
	return r.Place
}

// A Correlation relates events that match other rules.
type Correlation struct {
	Type     string   // "event_count", "value_count", "temporal", "temporal_ordered", "value_sum", "value_avg", "value_percentile", "value_median"
	Rules    []string // names or ids
	GroupBy  []string
	Timespan time.Duration
	// Aliases are field names by alias and by rule.
	Aliases map[string]map[string]string
	// Limits are the comparisons that must all hold.
	Limits []Limit
	// Fields are the fields that are counted or summed up.
	Fields     []string
	Percentile float64
	// Generate says that the rules it relates also report by themselves.
	Generate bool

	place string
}

// A Limit is one comparison of a correlation.
type Limit struct {
	Operator string // "gt", "gte", "lt", "lte", "eq", "neq"
	Value    float64
}

// A Refusal is a rule that cannot be evaluated, and why.
type Refusal struct {
	Rule   string // title, or what else names it; "" when it cannot be read
	ID     string
	Place  string // "file:line:column"
	Reason string
}

// Error says which rule, where, and why.
func (r *Refusal) Error() string {
	if r.Rule == "" {
		return r.Place + ": " + r.Reason
	}
	return fmt.Sprintf("%s: rule %q: %s", r.Place, r.Rule, r.Reason)
}

// Unwrap makes it ErrInvalid.
func (r *Refusal) Unwrap() error { return tallystick.ErrInvalid }

// Refusals are the rules of a file or a set that were refused.
type Refusals []*Refusal

// Error has a line for each.
func (r Refusals) Error() string {
	lines := make([]string, len(r))
	for i, one := range r {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns each refusal.
func (r Refusals) Unwrap() []error {
	all := make([]error, len(r))
	for i, one := range r {
		all[i] = one
	}
	return all
}
