// SPDX-License-Identifier: Apache-2.0

package sigma

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// correlation reads a correlation ("Sigma Correlation Rules Specification", version 2.1).
func (d *document) correlation(m pair) *Refusal {
	members, ok := pairs(m.value)
	if !ok {
		return d.refuse(m.at, "the correlation is a mapping")
	}
	c := &Correlation{Percentile: math.NaN(), place: d.place(m.at.GetToken())}
	d.rule.Correlation = c
	seen := map[string]bool{}
	for _, part := range members {
		if seen[part.key] {
			return d.refuse(part.at, "%q is there twice", part.key)
		}
		seen[part.key] = true
		if err := d.correlationMember(c, part); err != nil {
			return err
		}
	}
	if reason := c.check(); reason != "" {
		return d.refuse(m.at, "%s", reason)
	}
	return nil
}

func (d *document) correlationMember(c *Correlation, m pair) *Refusal {
	var ok bool
	switch m.key {
	case "type":
		c.Type, ok = text(m.value)
	case "rules":
		c.Rules, ok = texts(m.value)
	case "group-by":
		c.GroupBy, ok = texts(m.value)
	case "timespan":
		written, _ := text(m.value)
		if c.Timespan, ok = timespan(written); !ok {
			return d.refuse(m.value, "timespan %q is not a number and one of s, m, h, d, w", written)
		}
	case "aliases":
		c.Aliases, ok = aliases(m)
	case "generate":
		written, _ := text(m.value)
		c.Generate, ok = written == "true", written == "true" || written == "false"
	case "condition":
		return d.limits(c, m)
	default:
		return d.refuse(m.at, "%q of a correlation is not supported", m.key)
	}
	if !ok {
		return d.refuse(m.at, "%s of the correlation cannot be read", m.key)
	}
	return nil
}

// maxTimespan bounds how long a correlation can look back.
const maxTimespan = 366 * 24 * time.Hour

// timespan reads "90m".
func timespan(s string) (time.Duration, bool) {
	if s == "" {
		return 0, false
	}
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 31)
	unit := units[s[len(s)-1]]
	if err != nil || n == 0 || unit == 0 || n > uint64(maxTimespan/unit) {
		return 0, false
	}
	return time.Duration(n) * unit, true
}

func aliases(m pair) (map[string]map[string]string, bool) {
	members, ok := pairs(m.value)
	if !ok {
		return nil, false
	}
	all := map[string]map[string]string{}
	for _, alias := range members {
		fields, ok := pairs(alias.value)
		if !ok {
			return nil, false
		}
		all[alias.key] = map[string]string{}
		for _, f := range fields {
			name, ok := text(f.value)
			if !ok || name == "" {
				return nil, false
			}
			all[alias.key][f.key] = name
		}
	}
	return all, true
}

// limits reads the condition: comparisons, the field and the percentile.
func (d *document) limits(c *Correlation, m pair) *Refusal {
	members, ok := pairs(m.value)
	if !ok {
		return d.refuse(m.at, "a condition of a correlation that is no mapping is not supported: write gte: 10, or such")
	}
	for _, part := range members {
		if part.key == "field" {
			if c.Fields, ok = texts(part.value); !ok || len(c.Fields) == 0 {
				return d.refuse(part.at, "field of the condition is the name of a field")
			}
			continue
		}
		written, _ := text(part.value)
		value, ok := number(written)
		switch part.key {
		case "gt", "gte", "lt", "lte", "eq", "neq":
			if !ok {
				return d.refuse(part.value, "%s wants a number, and %q is none", part.key, written)
			}
			c.Limits = append(c.Limits, Limit{Operator: part.key, Value: value})
		case "percentile":
			if !ok || value < 0 || value > 100 {
				return d.refuse(part.value, "percentile is a number from 0 to 100")
			}
			c.Percentile = value
		default:
			return d.refuse(part.at, "%q of the condition is not supported", part.key)
		}
	}
	return nil
}

// check says what is missing.
func (c *Correlation) check() string {
	temporal := strings.HasPrefix(c.Type, "temporal")
	switch c.Type {
	case "event_count", "value_count", "temporal", "temporal_ordered", "value_sum", "value_avg", "value_percentile", "value_median":
	case "":
		return "the type of the correlation is missing"
	default:
		return fmt.Sprintf("correlation type %q is not supported", c.Type)
	}
	if c.Type != "value_percentile" {
		if !math.IsNaN(c.Percentile) {
			return fmt.Sprintf("percentile in the condition of %s is not supported", c.Type)
		}
		c.Percentile = map[string]float64{"value_median": 50}[c.Type]
	}
	ofValues := strings.HasPrefix(c.Type, "value_")
	switch {
	case len(c.Rules) == 0:
		return "the rules of the correlation are missing"
	case c.Timespan == 0:
		return "the timespan of the correlation is missing"
	case len(c.Limits) == 0 && !temporal:
		return "the condition of the correlation is missing"
	case ofValues && len(c.Fields) == 0:
		return "field is missing in the condition of the correlation"
	case !ofValues && len(c.Fields) > 0:
		return fmt.Sprintf("a field in the condition of %s is not supported", c.Type)
	case ofValues && c.Type != "value_count" && len(c.Fields) > 1:
		return fmt.Sprintf("more than one field in the condition of %s is not supported", c.Type)
	case c.Type == "temporal_ordered" && len(c.Limits) > 0:
		return "a condition of temporal_ordered is not supported: all of its rules must match, in their order"
	case temporal && slices.ContainsFunc(c.Limits, func(l Limit) bool { return l.Operator != "gte" && l.Operator != "gt" }):
		return "a condition of temporal other than gt and gte is not supported"
	case math.IsNaN(c.Percentile):
		return "value_percentile without percentile is not supported: the specification does not say which it is; write percentile: 95 into the condition"
	}
	return ""
}

// rising says that more events never make the condition false once it is true,
// so that it can be judged with each event. Others are judged at the end of a
// window.
func (c *Correlation) rising() bool {
	if c.Type == "value_avg" || c.Type == "value_percentile" || c.Type == "value_median" {
		return false
	}
	return !slices.ContainsFunc(c.Limits, func(l Limit) bool { return l.Operator != "gt" && l.Operator != "gte" })
}
