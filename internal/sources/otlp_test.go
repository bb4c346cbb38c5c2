// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

const logsJSON = `{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"mailer"}}]},"scopeLogs":[{"scope":{"name":"x"},"logRecords":[
 {"timeUnixNano":"1795168801500000000","severityNumber":9,"body":{"stringValue":"signed in"},"attributes":[
  {"key":"tally.credential","value":{"arrayValue":{"values":[{"stringValue":"x5t:aa"},{"stringValue":"entra-key:7"}]}}},
  {"key":"tally.relying_party","value":{"stringValue":"entra:t/r"}},{"key":"tally.level","value":{"stringValue":"token"}},
  {"key":"tally.seq","value":{"intValue":"7"}},{"key":"tally.outcome","value":{"stringValue":"success"}},
  {"key":"tally.ids.uti","value":{"stringValue":"abc"}},{"key":"client.address","value":{"stringValue":"192.0.2.1"}},
  {"key":"client.port","value":{"intValue":4711}},{"key":"tally.id","value":{"stringValue":"r0"}},{"key":"http.route","value":{"stringValue":"/"}}]},
 {"timeUnixNano":"1795168802000000000","body":{"stringValue":"nothing to do with it"},"attributes":[]},
 {"observedTimeUnixNano":"1795168803000000000","attributes":[{"key":"tally.credential","value":{"stringValue":"x5t:aa"}},{"key":"tally.id","value":{"stringValue":"r1"}}]},
 {"timeUnixNano":"1795168804000000000","attributes":[{"key":"tally.credential","value":{"stringValue":"x5t:aa"}},{"key":"tally.level","value":{"stringValue":"hunter2"}}]},
 {"timeUnixNano":"1795168805000000000","attributes":[{"key":"tally.closed","value":{"stringValue":"2026-11-20T10:00:05Z"}}]}
]}]}]}`

// export delivers logs.
func (h *house) export(token string, body []byte, asJSON bool) (Received, error) {
	return h.ReceiveLogs(h.Context(), Delivery{Token: token, Body: bytes.NewReader(body)}, asJSON)
}

func TestLogsInJSON(t *testing.T) {
	h := newHouse(t)
	token := h.add(store.Source{Kind: store.SourceOTLP, Side: tallystick.SideHolder})
	got, err := h.export(token, []byte(logsJSON), true)
	want := Received{Accepted: 2, Malformed: []Malformed{{4, "expected level signature, request, token or call"}}, MalformedCount: 1}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	at := start.Add(1500 * time.Millisecond)
	first := tallystick.Use{
		ID: "r0", Source: "edge", Seq: 7, Side: tallystick.SideHolder, Level: tallystick.LevelToken, Time: at, Until: at, Count: 1,
		Credential: []string{"x5t:aa", "entra-key:7"}, Holder: "mailer", RelyingParty: "entra:t/r", Outcome: tallystick.OutcomeSuccess,
		Address: "192.0.2.1", Port: 4711, IDs: tallystick.UseIDs{UTI: "abc"},
	}
	all := h.uses()
	if len(all) != 2 || !all[1].Time.Equal(start.Add(3*time.Second)) {
		t.Fatalf("%+v", all)
	}
	if diff := cmp.Diff(first, all[0]); diff != "" {
		t.Error(diff)
	}
	if closed := h.ledger.Books()[0].Closed; !closed.Equal(start.Add(5 * time.Second)) {
		t.Errorf("closed up to %s", closed)
	}
	if answer := string(LogsAnswer(got, true)); answer != `{"partialSuccess":{"errorMessage":"record 4: expected level signature, request, token or call","rejectedLogRecords":"1"}}` {
		t.Error(answer)
	}
}

// The bytes are those of OpenTelemetry's own exporter for Go: testdata/README.md
// says how they were made.
func TestLogsOfTheGoSDK(t *testing.T) {
	h := newHouse(t)
	token := h.add(store.Source{Kind: store.SourceOTLP, Side: tallystick.SideHolder})
	body, err := os.ReadFile(filepath.Join("testdata", "otlp-go-sdk.pb"))
	must(t, err)
	got, err := h.export(token, body, false)
	if diff := cmp.Diff(Received{Accepted: 2, Malformed: []Malformed{}}, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	var have []string
	for _, u := range h.uses() {
		have = append(have, strings.Join(append(u.Credential, u.ID, u.Holder, u.RelyingParty, u.IDs.UTI, u.Time.Format(time.RFC3339Nano)), " "))
	}
	want := []string{"x5t:aa entra-key:7 r0 mailer entra:t/r abc 2026-11-20T10:00:01.5Z", "x5t:aa r1 mailer ldap:ad:636  2026-11-20T10:00:03Z"}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Error(diff)
	}
	if len(LogsAnswer(got, false)) != 0 {
		t.Error("the answer to what was taken in as a whole is not empty")
	}
}

// A collector passes the lines of another program on as bodies.
func TestBodiesOfLogs(t *testing.T) {
	h := newHouse(t)
	token := h.add(store.Source{Kind: store.SourceOTLP, Format: "use"})
	text := func(number protowire.Number, text string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), text)
	}
	body := text(fieldBody, string(text(fieldString, strings.TrimSpace(record(0)))))
	export := text(fieldResourceLogs, string(text(fieldScopeLogs, string(text(fieldLogRecords, string(body))))))
	got, err := h.export(token, export, false)
	if err != nil || got.Accepted != 1 {
		t.Error(got, err)
	}
	h.wantIDs(1)
}

// Values nested as deep as there is room for neither overflow the stack nor cost much.
func TestDeepLogs(t *testing.T) {
	h := newHouse(t)
	token := h.add(store.Source{Kind: store.SourceOTLP})
	var reversed []byte
	wrap := func(number protowire.Number) {
		head := protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.BytesType), uint64(len(reversed)))
		for i := len(head) - 1; i >= 0; i-- {
			reversed = append(reversed, head[i])
		}
	}
	for len(reversed) < 8<<20 {
		wrap(fieldValues)
		wrap(fieldArray)
	}
	for _, number := range []protowire.Number{fieldBody, fieldLogRecords, fieldScopeLogs, fieldResourceLogs} {
		wrap(number)
	}
	body := make([]byte, len(reversed))
	for i, b := range reversed {
		body[len(body)-1-i] = b
	}
	if _, err := h.export(token, body, false); err != nil {
		t.Error(err)
	}
	deep := `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":` + strings.Repeat(`{"arrayValue":{"values":[`, 1e5)
	for _, text := range []string{deep, "", "[]", "{", `{"resourceLogs":7}`} {
		if _, err := h.export(token, []byte(text), true); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
	if _, err := h.export(token, make([]byte, maxLogs+1), false); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

func FuzzLogs(f *testing.F) {
	sdk, err := os.ReadFile(filepath.Join("testdata", "otlp-go-sdk.pb"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sdk)
	f.Add([]byte(logsJSON))
	f.Add([]byte{0x0a, 0x04, 0x12, 0x02, 0x12, 0x00})
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, decode := range []func([]byte, func(logRecord) error) error{protoLogs, jsonLogs} {
			err := decode(body, func(r logRecord) error {
				_ = r.use(tallystick.SideHolder)
				return nil
			})
			if err != nil && !errors.Is(err, tallystick.ErrInvalid) {
				t.Fatal(err)
			}
		}
	})
}

// TestLogsInJSONOfNothing sends an export of as many values as there is room for,
// each of which says nothing in two bytes and would take a hundred times as much.
func TestLogsInJSONOfNothing(t *testing.T) {
	h := newHouse(t)
	token := h.add(store.Source{Kind: store.SourceOTLP, Side: tallystick.SideHolder})
	for _, value := range []string{"{}", "0", "null"} {
		body := `{"resourceLogs":[{"scopeLogs":[{"logRecords":[` + strings.Repeat(value+",", maxValues+1) + value + `]}]}]}`
		if _, err := h.export(token, []byte(body), true); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%d times %s: %v", maxValues+2, value, err)
		}
	}
}
