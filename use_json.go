// SPDX-License-Identifier: Apache-2.0

package tallystick

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// A useRecord has the members of version 1 of the use record
// (docs/use-record.schema.json), in the order in which people read them.
type useRecord struct {
	V            int               `json:"v"`
	ID           string            `json:"id,omitempty"`
	Source       string            `json:"source,omitempty"`
	Seq          uint64            `json:"seq,omitempty"`
	Side         Side              `json:"side,omitempty"`
	Level        Level             `json:"level,omitempty"`
	Time         string            `json:"time"`
	Until        string            `json:"until,omitempty"`
	Count        int64             `json:"count,omitempty"`
	Credential   []string          `json:"credential,omitempty"`
	Holder       string            `json:"holder,omitempty"`
	RelyingParty string            `json:"relying_party,omitempty"`
	Outcome      Outcome           `json:"outcome,omitempty"`
	Address      string            `json:"address,omitempty"`
	Port         int               `json:"port,omitempty"`
	Agent        string            `json:"agent,omitempty"`
	Operation    string            `json:"operation,omitempty"`
	Resource     string            `json:"resource,omitempty"`
	Detail       string            `json:"detail,omitempty"`
	IDs          map[string]string `json:"ids,omitempty"`
}

// MarshalJSON writes version 1 of the use record (docs/use-record.schema.json),
// with the members that it does not name behind those that it does.
func (u Use) MarshalJSON() ([]byte, error) {
	r := useRecord{
		V: 1, ID: u.ID, Source: u.Source, Seq: u.Seq, Side: u.Side, Level: u.Level, Time: stamp(u.Time), Credential: u.Credential, Holder: u.Holder,
		RelyingParty: u.RelyingParty, Outcome: u.Outcome, Address: u.Address, Port: u.Port, Agent: u.Agent, Operation: u.Operation,
		Resource: u.Resource, Detail: u.Detail, IDs: u.IDs.Map(),
	}
	if u.Count > 1 {
		r.Count, r.Until = u.Count, stamp(u.Until)
	}
	text, err := json.Marshal(r)
	if err != nil || len(u.Other) == 0 {
		return text, err
	}
	text = text[:len(text)-1]
	for _, name := range slices.Sorted(maps.Keys(u.Other)) {
		if value := u.Other[name]; json.Valid([]byte(value)) {
			text = append(append(append(append(text, ','), quoted(name)...), ':'), value...)
		}
	}
	return append(text, '}'), nil
}

// UnmarshalJSON reads what MarshalJSON has written. Logs of others go through
// package uses, which is lenient, and says what it does not understand.
func (u *Use) UnmarshalJSON(text []byte) error {
	var r useRecord
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	*u = Use{
		ID: r.ID, Source: r.Source, Seq: r.Seq, Side: r.Side, Level: r.Level, Count: max(r.Count, 1), Credential: r.Credential, Holder: r.Holder,
		RelyingParty: r.RelyingParty, Outcome: r.Outcome, Address: r.Address, Port: r.Port, Agent: r.Agent, Operation: r.Operation,
		Resource: r.Resource, Detail: r.Detail, IDs: useIDsOf(r.IDs),
	}
	var err error
	if u.Time, err = time.Parse(time.RFC3339Nano, r.Time); err != nil {
		return fmt.Errorf("couldn't read the time of a use: %w", err)
	}
	if u.Until = u.Time; r.Until != "" {
		if u.Until, err = time.Parse(time.RFC3339Nano, r.Until); err != nil {
			return fmt.Errorf("couldn't read the end of a use: %w", err)
		}
	}
	return u.readOther(text)
}

// readOther keeps the members that version 1 does not name.
func (u *Use) readOther(text []byte) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	for _, name := range [...]string{
		"v", "id", "source", "seq", "side", "level", "time", "until", "count", "credential", "holder", "relying_party", "outcome", "address",
		"port", "agent", "operation", "resource", "detail", "ids",
	} {
		delete(all, name)
	}
	for name, value := range all {
		if u.Other == nil {
			u.Other = make(map[string]string, len(all))
		}
		u.Other[name] = string(value)
	}
	return nil
}

// useIDsOf undoes UseIDs.Map.
func useIDsOf(all map[string]string) UseIDs {
	ids := UseIDs{}
	for name, value := range all {
		switch name {
		case "uti":
			ids.UTI = value
		case "correlation":
			ids.Correlation = value
		case "request":
			ids.Request = value
		case "session":
			ids.Session = value
		case "queue":
			ids.Queue = value
		case "serial":
			ids.Serial = value
		case "parent":
			ids.Parent = value
		default:
			if ids.Other == nil {
				ids.Other = map[string]string{}
			}
			ids.Other[name] = value
		}
	}
	return ids
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// quoted writes text as a JSON string; text always encodes.
func quoted(text string) []byte {
	out, _ := json.Marshal(text)
	return out
}
