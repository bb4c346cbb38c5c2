// SPDX-License-Identifier: Apache-2.0

package sigma

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// An Event is what rules are evaluated over.
type Event interface {
	// LogSources says what it is an event of; a rule about any of them applies.
	LogSources() []LogSource
	// Field returns the values of a field, whose name is in lower case: members
	// of objects behind a dot, and members of a use or a change behind "@". A
	// field that is null has no values, and one that is not there is not ok.
	Field(name string) (values []string, ok bool)
	// Each calls do with every value, for keywords.
	Each(do func(value string))
}

// member is the mark of a name that is a member of a use or a change.
const member = "@"

// A UseEvent is a use, and perhaps the record that it was read from.
type UseEvent struct {
	Use    *tallystick.Use
	Record *Record // or nil
	// Sources are what it is an event of. Nil is what the record says, and what
	// the use shows.
	Sources []LogSource
}

// LogSources implements Event.
func (e UseEvent) LogSources() []LogSource {
	if e.Sources != nil {
		return e.Sources
	}
	sources := []LogSource{{Product: "tallystick", Service: "uses"}}
	if e.Record != nil {
		sources = append(sources, e.Record.Sources...)
	}
	if e.Record == nil || len(e.Record.Sources) == 0 {
		sources = append(sources, sourcesOfUse(e.Use)...)
	}
	return sources
}

// Field implements Event.
func (e UseEvent) Field(name string) ([]string, bool) {
	if own, ok := strings.CutPrefix(name, member); ok {
		return useMember(e.Use, own)
	}
	if e.Record != nil {
		return e.Record.Field(name)
	}
	return rawMember(e.Use.Other, name)
}

// Each implements Event.
func (e UseEvent) Each(do func(string)) {
	if e.Record != nil {
		e.Record.Each(do)
		return
	}
	u := e.Use
	for _, name := range u.Credential {
		do(name)
	}
	for _, value := range []string{u.ID, u.Source, u.Holder, u.RelyingParty, u.Address, u.Agent, u.Operation, u.Resource, u.Detail} {
		if value != "" {
			do(value)
		}
	}
	for _, value := range u.IDs.Map() {
		do(value)
	}
	for _, value := range u.Other {
		recordOf(value).Each(do)
	}
}

// useMember returns a member of a use, under the name that a use record has.
func useMember(u *tallystick.Use, name string) ([]string, bool) {
	switch name {
	case "credential":
		return u.Credential, len(u.Credential) > 0
	case "account":
		return accounts(append(slices.Clip(u.Credential), u.Resource)) // which a key opened, where it is not the credential
	case "bare":
		return bare(u.Credential)
	case "request_method", "request_uri", "request_path", "request_query":
		return one(requestLine(u.Operation)[name])
	case "time":
		return one(u.Time.UTC().Format(time.RFC3339Nano))
	case "until":
		return one(u.Until.UTC().Format(time.RFC3339Nano))
	case "count":
		return one(strconv.FormatInt(u.Count, 10))
	case "port":
		if u.Port == 0 {
			return nil, false
		}
		return one(strconv.Itoa(u.Port))
	case "status":
		if u.Outcome == tallystick.OutcomeSuccess {
			return one("Success")
		}
		return one("Failure")
	case "code":
		code, _, _ := strings.Cut(u.Detail, " ")
		if u.Outcome == tallystick.OutcomeSuccess {
			code = "0"
		}
		return one(code)
	case "reason": // without the code that stands before it
		code, text, _ := strings.Cut(u.Detail, " ")
		if _, err := strconv.Atoi(code); err != nil {
			text = u.Detail
		}
		return one(text)
	case "ntstatus":
		if u.Outcome == tallystick.OutcomeSuccess {
			return one("0x0")
		}
		return one(u.Detail)
	}
	if id, ok := strings.CutPrefix(name, "ids."); ok {
		return one(u.IDs.Map()[id])
	}
	return one(map[string]string{"id": u.ID, "source": u.Source, "side": string(u.Side), "level": string(u.Level), "holder": u.Holder,
		"relying_party": u.RelyingParty, "outcome": string(u.Outcome), "address": u.Address, "agent": u.Agent, "operation": u.Operation,
		"resource": u.Resource, "detail": u.Detail}[name])
}

// one returns a member that is there unless it is "".
func one(value string) ([]string, bool) {
	if value == "" {
		return nil, false
	}
	return []string{value}, true
}

// accounts returns the bare names of accounts: of "account:ad/corp/alice" it is "alice".
func accounts(credential []string) (names []string, ok bool) {
	for _, name := range credential {
		if account, is := strings.CutPrefix(name, "account:"); is {
			names = append(names, account[strings.LastIndexByte(account, '/')+1:])
		}
	}
	return names, len(names) > 0
}

// bare returns names without their kinds: of "x5t:1949..." it is "1949...".
func bare(credential []string) (names []string, ok bool) {
	for _, name := range credential {
		if _, value, is := strings.Cut(name, ":"); is {
			names = append(names, value)
		}
	}
	return names, len(names) > 0
}

// requestLine returns the parts of the first line of an HTTP request (RFC 9112
// section 3); what is no such line has none.
func requestLine(line string) map[string]string {
	parts := strings.Split(line, " ")
	if len(parts) != 3 || !strings.HasPrefix(parts[2], "HTTP/") {
		return nil
	}
	path, query, _ := strings.Cut(parts[1], "?")
	return map[string]string{"request_method": parts[0], "request_uri": parts[1], "request_path": path, "request_query": query}
}

// A ChangeEvent is a change, and perhaps the record that it was read from.
type ChangeEvent struct {
	Change  *tallystick.Change
	Record  *Record     // or nil
	Sources []LogSource // beside what the record says
}

// LogSources implements Event.
func (e ChangeEvent) LogSources() []LogSource {
	sources := append([]LogSource{{Product: "tallystick", Service: "changes"}}, e.Sources...)
	if e.Record != nil {
		sources = append(sources, e.Record.Sources...)
	}
	return sources
}

// Field implements Event.
func (e ChangeEvent) Field(name string) ([]string, bool) {
	if own, ok := strings.CutPrefix(name, member); ok {
		return changeMember(e.Change, own)
	}
	if e.Record != nil {
		return e.Record.Field(name)
	}
	return nil, false
}

// Each implements Event.
func (e ChangeEvent) Each(do func(string)) {
	if e.Record != nil {
		e.Record.Each(do)
		return
	}
	for name := range changeMembers {
		values, _ := changeMember(e.Change, name)
		for _, value := range values {
			do(value)
		}
	}
}

// changeMember returns a member of a change.
func changeMember(c *tallystick.Change, name string) ([]string, bool) {
	switch name {
	case "accounts":
		return c.Accounts, len(c.Accounts) > 0
	case "credential":
		return c.Credential, len(c.Credential) > 0
	case "grants":
		return c.Grants, len(c.Grants) > 0
	case "time":
		return one(c.Time.UTC().Format(time.RFC3339Nano))
	case "failed":
		return one(strconv.FormatBool(c.Failed))
	case "status":
		if c.Failed {
			return one("Failure")
		}
		return one("Success")
	case "existing":
		if c.Existing < 0 {
			return nil, false
		}
		return one(strconv.Itoa(c.Existing))
	}
	return one(map[string]string{"id": c.ID, "source": c.Source, "kind": string(c.Kind), "actor": c.Actor, "actor_kind": c.ActorKind,
		"address": c.Address, "agent": c.Agent, "target": c.Target, "target_name": c.TargetName, "operation": c.Operation,
		"correlation": c.Correlation, "before": c.Before, "after": c.After, "detail": c.Detail}[name])
}

// A view is an event with what was looked up in it, so that a thousand rules
// look once.
type view struct {
	event Event
	known map[string]*found
	all   *found
}

func newView(e Event) *view { return &view{event: e, known: map[string]*found{}} }

// field returns what the event has under the first of the names of f that it knows.
func (v *view) field(f *field) *found {
	if known, ok := v.known[f.key]; ok {
		return known
	}
	at := &found{}
	for _, name := range f.names {
		if values, ok := v.event.Field(name); ok {
			at.present, at.values = true, values
			break
		}
	}
	v.known[f.key] = at
	return at
}

// everything returns all values of the event.
func (v *view) everything() *found {
	if v.all == nil {
		v.all = &found{present: true}
		v.event.Each(func(value string) { v.all.values = append(v.all.values, value) })
	}
	return v.all
}

// Match says whether the event fits the detection of the rule. It does not ask
// what the event is of; a Set does. Correlations match no single event.
func (r *Rule) Match(e Event) bool { return r.match(newView(e)) }

func (r *Rule) match(v *view) bool { return r.matches != nil && r.matches.holds(v) }
