// SPDX-License-Identifier: Apache-2.0

package sigma

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/uses"
)

// usesOf reads a log of package uses as a server does, which keeps the uses and
// not the records.
func usesOf(t *testing.T, format string) []tallystick.Use {
	t.Helper()
	near := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	log, err := uses.Open(filepath.Join("../uses/testdata", format+".log"), format, uses.Settings{Near: near}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	read, sink := log.Reader(), &taken{}
	err = log.Blocks(func(b *uses.Block) error {
		b.Each(func(record string, _ int64, _ int) { _ = read(record, sink) }) // some are there to be wrong
		return nil
	}, func(int, error) {})
	if err != nil || len(sink.list) == 0 {
		t.Fatalf("%s: %d uses, %v", format, len(sink.list), err)
	}
	return sink.list
}

type taken struct{ list []tallystick.Use }

func (s *taken) Use(u *tallystick.Use)        { s.list = append(s.list, *uses.Keep(u)) }
func (s *taken) Close(tallystick.ClosingMark) {}
func (s *taken) Lost(*tallystick.Use)         {}

// useOf reads a use from a record.
func useOf(t *testing.T, format, record string) tallystick.Use {
	t.Helper()
	stream, err := uses.NewStream(format, uses.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	var sink taken
	if err := stream.Read(record, &sink); err != nil || len(sink.list) != 1 {
		t.Fatal(sink.list, err)
	}
	return sink.list[0]
}

const signIn = `{"id": "d5935dca-86f2-4ac9-a42c-3593b00af801", "createdDateTime": "2026-11-20T10:15:30Z", "appId": "6131d760-7fda-4db5-8bb1-b771898e9f15",
	"ipAddress": "203.0.113.7", "servicePrincipalId": "b029d485-a308-4311-8720-fb3192e5284e", "servicePrincipalName": "Mail sync", "sessionId": "s1", "userAgent": "python-requests/2.31",
	"resourceId": "00000003-0000-0000-c000-000000000000", "resourceTenantId": "11111111-2222-3333-4444-555555555555",
	"servicePrincipalCredentialKeyId": "7F1D5C1E-6A1F-4D0E-9B5E-2F6F3B0A9C11", "status": {"errorCode": 7000222, "failureReason": "The provided client secret keys are expired."}}`

// accepted says whether a rule about a log that asks for a field is taken where
// records are not kept.
func accepted(source LogSource, field, value string) (*Rule, error) {
	text := "title: T\nlogsource: {"
	for name, part := range map[string]string{"product": source.Product, "service": source.Service, "category": source.Category} {
		if part != "" {
			text += name + ": " + part + ", "
		}
	}
	rules, err := Compile([]byte(fmt.Sprintf("%s}\ndetection: {s: {'%s': '%s'}, condition: s}\n", text, field, value)), Options{MappedOnly: true})
	if err != nil {
		return nil, err
	}
	return rules[0], nil
}

// What a rule may ask for where uses are kept and not the records, a use that was
// read from the log has.
func TestFieldsThatAreAcceptedHaveValues(t *testing.T) {
	logs := map[string][]tallystick.Use{}
	for _, format := range []string{"entra-signin", "entra-signin-diagnostic", "entra-signin-la", "unified-audit", "office-activity", "cloudtrail",
		"windows-json", "windows-xml", "openssh", "nginx", "haproxy", "zeek-json", "zeek-tsv"} {
		logs[format] = usesOf(t, format)
	}
	logs["more"] = []tallystick.Use{
		useOf(t, "entra-signin", signIn),
		useOf(t, "nginx", `{"ts":"2026-11-22T04:56:36+00:00","remote":"127.0.0.1:4","status":200,"verify":"SUCCESS","sdn":"CN=a","sni":"a","req":"GET /a?b=c HTTP/1.1"}`),
		useOf(t, "unified-audit", `{"Id":"1","CreationTime":"2026-11-22T04:56:36","Workload":"Exchange","Operation":"MailItemsAccessed","AppId":"a","SessionId":"s"}`),
	}
	fields := 0
	for _, m := range fieldMaps {
		if m.own != nil {
			continue
		}
		for name := range m.names {
			rule, err := accepted(m.source, name, "*")
			if err != nil {
				continue
			}
			fields++
			found := false
			for _, list := range logs {
				for i := range list {
					event := UseEvent{Use: &list[i]}
					for _, source := range event.LogSources() {
						found = found || rule.LogSource.Covers(source) && rule.Match(event)
					}
				}
			}
			if !found {
				t.Errorf("no use has %s of %+v", name, m.source)
			}
		}
	}
	if fields < 40 {
		t.Errorf("only %d fields are accepted", fields)
	}
}

func TestFieldsThatNoUseHasAreRefused(t *testing.T) {
	for _, c := range []struct {
		source LogSource
		field  string
	}{
		{LogSource{Product: "azure", Service: "signinlogs"}, "AppId"},
		{LogSource{Product: "azure", Service: "signinlogs"}, "OperationName"},
		{LogSource{Product: "azure", Service: "signinlogs"}, "@port"},
		{LogSource{Product: "azure", Service: "auditlogs"}, "OperationName"},
		{LogSource{Product: "m365", Service: "audit"}, "UserId"},
		{LogSource{Product: "windows", Service: "security"}, "IpPort"},
		{LogSource{Product: "zeek", Service: "ssl"}, "certificate.serial"},
		{LogSource{Product: "tallystick", Service: "uses"}, "@agnet"},
	} {
		if _, err := accepted(c.source, c.field, "x"); err == nil || !strings.Contains(err.Error(), c.field) {
			t.Errorf("%s of %+v: %v", c.field, c.source, err)
		}
	}
}

// A sign-in fires rules about sign-ins, whatever people call its source.
func TestASignInFiresRulesWithoutItsRecord(t *testing.T) {
	use := useOf(t, "entra-signin", signIn)
	for field, value := range map[string]string{
		"ServicePrincipalName": "Mail sync", "UserAgent|startswith": "python", "IPAddress|cidr": "203.0.113.0/24", "ResultType": "7000222",
		"ResultDescription|startswith": "The provided", "Status": "Failure", "ServicePrincipalCredentialKeyId": "7f1d5c1e-6a1f-4d0e-9b5e-2f6f3b0a9c11",
	} {
		rule, err := accepted(LogSource{Product: "azure", Service: "signinlogs"}, field, value)
		if err != nil {
			t.Error(err)
			continue
		}
		set, err := NewSet([]*Rule{rule}, SetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, source := range []string{"entra", "our-tenant"} {
			use.Source = source
			if hits := set.Event(UseEvent{Use: &use}, use.Time); len(hits) != 1 {
				t.Errorf("%s: %d hits of a source %s", field, len(hits), source)
			}
		}
	}
}
