// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/uses"
)

// members says which attribute of a log record is which member of a use record.
// docs/sources.md has the same table for people.
var members = map[string]string{
	"tally.credential":    "credential",
	"tally.id":            "id",
	"tally.seq":           "seq",
	"tally.level":         "level",
	"tally.until":         "until",
	"tally.count":         "count",
	"tally.holder":        "holder",
	"tally.relying_party": "relying_party",
	"tally.outcome":       "outcome",
	"tally.operation":     "operation",
	"tally.resource":      "resource",
	"tally.detail":        "detail",
	"tally.closed":        "closed",
	"tally.lost":          "lost",
	// Names of OpenTelemetry's semantic conventions.
	"client.address":      "address",
	"client.port":         "port",
	"user_agent.original": "agent",
}

const (
	idPrefix  = "tally.ids."   // before the names of identifiers
	serviceOf = "service.name" // of the resource: the holder, unless the record says another
)

// says are the attributes of which a log record has one when it is about uses.
var says = []string{"tally.credential", idPrefix + "uti", "tally.closed", "tally.lost"}

// A logRecord is what a use record can be made of.
type logRecord struct {
	time       uint64 // nanoseconds since 1970; 0 is not known
	body       string // "" when it is not text
	attributes map[string]any
	service    string
}

// ReceiveLogs takes the body of an OTLP export of logs (opentelemetry.io/docs/specs/otlp,
// "OTLP/HTTP"), which is held in memory. Log records that say nothing of uses are
// passed over. What it returns is as that of Receive; lines are log records.
func (s *Sources) ReceiveLogs(ctx context.Context, d Delivery, asJSON bool) (Received, error) {
	received := Received{Malformed: []Malformed{}}
	f, release, err := s.admit(ctx, d, store.SourceOTLP)
	if err != nil {
		return received, err
	}
	defer release()
	plain, err := unpack(d, maxLogs)
	if err != nil {
		return received, err
	}
	defer plain.Close()
	body, err := io.ReadAll(plain)
	if err != nil {
		return received, badBody(err)
	}
	lr, err := f.newLogs(s.Now())
	if err != nil {
		return received, err
	}
	n := int64(0)
	each := func(r logRecord) error {
		n++
		if err := lr.read(r); err != nil {
			received.malformed(f, n, err)
		}
		if f.records >= batchRecords || f.size >= batchBytes {
			return f.deliver(ctx, &received)
		}
		return nil
	}
	if asJSON {
		err = jsonLogs(body, each)
	} else {
		err = protoLogs(body, each)
	}
	if errors.Is(err, tallystick.ErrBusy) {
		return received, err
	}
	return received, errors.Join(err, f.finish(ctx, &received))
}

// logs reads log records for one feed.
type logs struct {
	*feed
	own    *uses.Stream
	bodies *uses.Stream // of a format that bodies are in; nil when they are not read
}

func (f *feed) newLogs(now time.Time) (*logs, error) {
	records, err := uses.NewStream("use", f.settings(now))
	if err != nil || f.source.Format == "" {
		return &logs{f, records, nil}, err
	}
	bodies, err := uses.NewStream(f.source.Format, f.settings(now))
	return &logs{f, records, bodies}, err
}

// read reads a log record: its attributes or, where those say nothing and the
// source has a format, its body.
func (l *logs) read(r logRecord) error {
	for _, name := range says {
		if _, ok := r.attributes[name]; ok {
			text, err := json.Marshal(r.use(l.source.Side))
			if err != nil {
				return err
			}
			return l.feed.read(l.own, string(text))
		}
	}
	if l.bodies != nil && strings.TrimSpace(r.body) != "" {
		if len(r.body) > uses.MaxRecord {
			return uses.ErrTooLong()
		}
		return l.feed.read(l.bodies, r.body)
	}
	return nil
}

// use returns the use record that a log record is.
func (r logRecord) use(side tallystick.Side) map[string]any {
	use, ids := map[string]any{"v": 1}, map[string]any{}
	if side == tallystick.SideHolder && r.service != "" {
		use["holder"] = r.service
	}
	for name, value := range r.attributes {
		if member, ok := members[name]; ok {
			use[member] = value
		} else if id, ok := strings.CutPrefix(name, idPrefix); ok {
			ids[id] = value
		}
	}
	if len(ids) > 0 {
		use["ids"] = ids
	}
	if _, closing := use["closed"]; r.time > 0 && !closing {
		use["time"] = time.Unix(int64(r.time/1e9), int64(r.time%1e9)).UTC().Format(time.RFC3339Nano)
	}
	return use
}

// A jsonValue is an AnyValue in OTLP's JSON, where 64-bit integers are text.
type jsonValue struct {
	StringValue *string
	BoolValue   *bool
	IntValue    json.RawMessage
	DoubleValue json.RawMessage
	ArrayValue  *struct{ Values []jsonValue }
}

type jsonAttributes []struct {
	Key   string
	Value jsonValue
}

type jsonExport struct {
	ResourceLogs []struct {
		Resource  struct{ Attributes jsonAttributes }
		ScopeLogs []struct {
			LogRecords []struct {
				TimeUnixNano         json.RawMessage
				ObservedTimeUnixNano json.RawMessage
				Body                 jsonValue
				Attributes           jsonAttributes
			}
		}
	}
}

// maxValues bounds the values of an export in JSON: one of two bytes can take a
// hundred times as much in memory. An export of 16 MiB that says something has
// some hundred thousand.
const maxValues = 1 << 19

// jsonLogs calls each with the log records of an export in JSON. An error that is
// not each's is ErrInvalid or ErrTooLarge.
func jsonLogs(body []byte, each func(logRecord) error) error {
	if bytes.Count(body, []byte{','}) > maxValues {
		return ErrTooLarge
	}
	var export jsonExport
	if err := json.Unmarshal(body, &export); err != nil {
		return fmt.Errorf("%w: the body is no OTLP export of logs in JSON", tallystick.ErrInvalid)
	}
	for _, resource := range export.ResourceLogs {
		service, _ := resource.Resource.Attributes.values()[serviceOf].(string)
		for _, scope := range resource.ScopeLogs {
			for _, one := range scope.LogRecords {
				r := logRecord{time: jsonUint(one.TimeUnixNano), attributes: one.Attributes.values(), service: service}
				if r.time == 0 {
					r.time = jsonUint(one.ObservedTimeUnixNano)
				}
				r.body, _ = one.Body.value().(string)
				if err := each(r); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (a jsonAttributes) values() map[string]any {
	values := make(map[string]any, len(a))
	for _, one := range a {
		if v := one.Value.value(); v != nil {
			values[one.Key] = v
		}
	}
	return values
}

// value returns a text, a number, a truth or a list of texts; nil for what else
// there is.
func (v jsonValue) value() any {
	switch {
	case v.StringValue != nil:
		return *v.StringValue
	case v.BoolValue != nil:
		return *v.BoolValue
	case v.IntValue != nil:
		n, err := strconv.ParseInt(unquoted(v.IntValue), 10, 64)
		if err == nil {
			return n
		}
	case v.DoubleValue != nil:
		n, err := strconv.ParseFloat(unquoted(v.DoubleValue), 64)
		if err == nil && n-n == 0 { // neither infinite nor NaN, which JSON has not
			return n
		}
	case v.ArrayValue != nil:
		list := []string{}
		for _, one := range v.ArrayValue.Values {
			if text, ok := one.value().(string); ok {
				list = append(list, text)
			}
		}
		return list
	}
	return nil
}

func unquoted(text json.RawMessage) string { return strings.Trim(string(text), `"`) }

// jsonUint reads a 64-bit number; what is none is 0.
func jsonUint(text json.RawMessage) uint64 {
	n, err := strconv.ParseUint(unquoted(text), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
