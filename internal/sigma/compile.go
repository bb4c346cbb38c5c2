// SPDX-License-Identifier: Apache-2.0

package sigma

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Compile reads the rules of a file, which can have several documents. The
// error, a Refusals, has every rule that was refused; the others are returned
// beside it. Whether a correlation finds its rules is checked by NewSet.
func Compile(text []byte, options Options) ([]*Rule, error) {
	if options.Name == "" {
		options.Name = "rule"
	}
	if len(text) > maxFile {
		return nil, Refusals{{Place: options.Name, Reason: fmt.Sprintf("the file is larger than %d bytes", maxFile)}}
	}
	var rules []*Rule
	var refused Refusals
	for _, w := range documentsOf(string(text), options.Name) {
		body, refusal := w.parse()
		if body == nil && refusal == nil {
			continue
		}
		if refusal == nil {
			d := document{options: options, written: w, rule: &Rule{Place: w.place(body.GetToken())}}
			if refusal = d.read(body); refusal == nil {
				rules = append(rules, d.rule)
				continue
			}
		}
		refused = append(refused, refusal)
	}
	if len(rules)+len(refused) == 0 {
		refused = append(refused, &Refusal{Place: options.Name, Reason: "there is no rule in this file"})
	}
	if len(refused) > 0 {
		return rules, refused
	}
	return rules, nil
}

// A document is being read as a rule.
type document struct {
	written
	options Options
	rule    *Rule
	fields  *fieldMap
}

// refuse returns the refusal of the rule for what stands at n.
func (d *document) refuse(n ast.Node, format string, args ...any) *Refusal {
	at := d.rule.Place
	if n != nil && n.GetToken() != nil {
		at = d.place(n.GetToken())
	}
	name := ""
	if d.rule.Title+d.rule.Name+d.rule.ID != "" {
		name = d.rule.Label()
	}
	return &Refusal{Rule: name, ID: d.rule.ID, Place: at, Reason: fmt.Sprintf(format, args...)}
}

// read reads a document.
func (d *document) read(body ast.Node) *Refusal {
	members, ok := pairs(body)
	if !ok {
		return d.refuse(body, "a rule is a mapping with a title, a logsource and a detection")
	}
	if len(members) > 0 {
		d.rule.Place = d.place(members[0].at.GetToken())
	}
	part := map[string]pair{}
	// What names the rule comes first, so that a refusal can say which it is.
	for _, named := range []bool{true, false} {
		for _, m := range members {
			if isName := m.key == "title" || m.key == "id" || m.key == "name"; isName != named {
				continue
			}
			if _, twice := part[m.key]; twice {
				return d.refuse(m.at, "%q is there twice", m.key)
			}
			part[m.key] = m
			if err := d.member(m); err != nil {
				return err
			}
		}
	}
	if d.rule.Title == "" {
		return d.refuse(nil, "the title is missing")
	}
	_, single := part["detection"]
	correlation, related := part["correlation"]
	switch {
	case single && related:
		return d.refuse(correlation.at, "a rule has a detection or a correlation, not both")
	case related:
		return d.correlation(correlation)
	case !single:
		return d.refuse(nil, "the detection is missing")
	}
	if err := d.logSource(part["logsource"]); err != nil {
		return err
	}
	d.rule.fieldMap, d.rule.mappedOnly = d.fields, d.options.MappedOnly
	return d.detection(part["detection"])
}

// member takes what is said of the rule, and refuses what changes its meaning
// in a way that is not known here.
func (d *document) member(m pair) *Refusal {
	r := d.rule
	one := map[string]*string{
		"title": &r.Title, "id": &r.ID, "name": &r.Name, "status": &r.Status, "level": &r.Level, "description": &r.Description,
		"author": &r.Author, "license": &r.License, "date": &r.Date, "modified": &r.Modified,
	}
	many := map[string]*[]string{"tags": &r.Tags, "references": &r.References, "falsepositives": &r.FalsePositives, "fields": &r.Fields}
	switch {
	case one[m.key] != nil:
		s, ok := text(m.value)
		if !ok {
			return d.refuse(m.at, "%s is one text", m.key)
		}
		*one[m.key] = strings.TrimSpace(s)
	case many[m.key] != nil:
		list, ok := texts(m.value)
		if !ok {
			return d.refuse(m.at, "%s is a list of texts", m.key)
		}
		*many[m.key] = list
	}
	return d.meaning(m)
}

// meaning checks the attributes that decide what the rule means.
func (d *document) meaning(m pair) *Refusal {
	value, _ := text(m.value)
	switch m.key {
	case "level":
		if known := []string{"", "informational", "low", "medium", "high", "critical"}; !slices.Contains(known, value) {
			return d.refuse(m.at, "level %q is not one of informational, low, medium, high, critical", value)
		}
	case "normalise":
		if value != "true" && value != "false" {
			return d.refuse(m.at, "normalise is true or false")
		}
		d.rule.normalised = value == "true"
	case "taxonomy":
		if value != "sigma" {
			return d.refuse(m.at, "taxonomy %q is not supported, only sigma", value)
		}
	case "action":
		return d.refuse(m.at, "action: %s of a rule collection is not supported (it is gone since version 2): write out each rule", value)
	case "filter":
		return d.refuse(m.at, "a Sigma filter is not supported: write the exclusion into the rule")
	}
	return nil
}

// logSource reads what the rule is about and finds its map of fields.
func (d *document) logSource(m pair) *Refusal {
	members, ok := pairs(m.value)
	if !ok {
		return d.refuse(m.at, "the logsource is missing")
	}
	l := &d.rule.LogSource
	for _, part := range members {
		value, ok := text(part.value)
		if !ok {
			return d.refuse(part.at, "%s of the logsource is one text", part.key)
		}
		switch part.key {
		case "product":
			l.Product = strings.ToLower(value)
		case "category":
			l.Category = strings.ToLower(value)
		case "service":
			l.Service = strings.ToLower(value)
		}
	}
	if *l == (LogSource{}) {
		return d.refuse(m.at, "the logsource has no product, category or service")
	}
	if d.fields, ok = fieldsOf(*l); !ok && d.options.AnyLogSource {
		d.fields = &fieldMap{source: *l}
	} else if !ok {
		return d.refuse(m.at, "no records of logsource %s are read here", *l)
	}
	return nil
}

// detection reads the search identifiers and the conditions.
func (d *document) detection(m pair) *Refusal {
	members, ok := pairs(m.value)
	if !ok {
		return d.refuse(m.at, "the detection is a mapping")
	}
	searches := searches{byName: map[string]node{}}
	var condition *pair
	d.rule.normalised = d.rule.normalised || d.options.Normalise
	for _, s := range members {
		switch s.key {
		case "condition":
			condition = &s
			continue
		case "timeframe":
			return d.refuse(s.at, "timeframe is not supported (it is gone since version 2): write a correlation rule")
		}
		if _, twice := searches.byName[s.key]; twice {
			return d.refuse(s.at, "%q is there twice", s.key)
		}
		n, err := d.search(s)
		if err != nil {
			return err
		}
		searches.names = append(searches.names, s.key)
		searches.byName[s.key] = n
	}
	if condition == nil {
		return d.refuse(m.at, "the condition is missing")
	}
	return d.conditions(*condition, searches)
}

// conditions reads one condition or a list of them, of which any may hold.
func (d *document) conditions(m pair, searches searches) *Refusal {
	list, ok := items(m.value)
	if !ok {
		list = []ast.Node{m.value}
	}
	var any anyOf
	for _, one := range list {
		line, ok := text(one)
		if !ok || line == "" {
			return d.refuse(m.at, "a condition is a text")
		}
		n, reason := parseCondition(line, searches)
		if reason != "" {
			return d.refuse(one, "condition %q: %s", line, reason)
		}
		any = append(any, n)
	}
	if len(any) == 0 {
		return d.refuse(m.at, "the condition is missing")
	}
	d.rule.matches = any.simple()
	return nil
}
