// SPDX-License-Identifier: Apache-2.0

package sigma_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/sigma"
)

func archive(t testing.TB, path string) []txtar.File {
	t.Helper()
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Files) == 0 {
		t.Fatalf("%s is empty", path)
	}
	return a.Files
}

// compile returns the one rule of a text.
func compile(t testing.TB, text string) *sigma.Rule {
	t.Helper()
	rules, err := sigma.Compile([]byte(text), sigma.Options{Placeholders: map[string][]string{"hosts": {"srv1", "ws?"}}})
	if err != nil || len(rules) != 1 {
		t.Fatalf("%d rules: %v", len(rules), err)
	}
	return rules[0]
}

// Every rule says the same when a set looks it up by the values that it must have.
func TestMatch(t *testing.T) {
	for _, file := range archive(t, "testdata/match.txt") {
		t.Run(file.Name, func(t *testing.T) {
			var text bytes.Buffer
			var events []string
			for line := range strings.Lines(string(file.Data)) {
				if strings.HasPrefix(line, "yes ") || strings.HasPrefix(line, "no ") {
					events = append(events, strings.TrimSpace(line))
					continue
				}
				text.WriteString(line)
			}
			rule := compile(t, "title: T\nlogsource:\n    product: aws\n    service: cloudtrail\n"+text.String())
			set, err := sigma.NewSet([]*sigma.Rule{rule}, sigma.SetOptions{})
			if err != nil || len(events) == 0 {
				t.Fatalf("%d events: %v", len(events), err)
			}
			for _, event := range events {
				want, json, _ := strings.Cut(event, " ")
				record := sigma.NewRecord(json, "cloudtrail")
				if rule.Match(record) != (want == "yes") {
					t.Errorf("not %s: %s", want, json)
				}
				if hits := set.Event(record, record.Time); (len(hits) == 1) != (want == "yes") {
					t.Errorf("in a set not %s: %s", want, json)
				}
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for _, file := range archive(t, "testdata/refused.txt") {
		t.Run(file.Name, func(t *testing.T) {
			first, _, _ := strings.Cut(string(file.Data), "\n")
			rules, err := sigma.Compile(file.Data, sigma.Options{})
			if err == nil || len(rules) > 0 {
				t.Fatalf("%d rules were taken", len(rules))
			}
			if want := strings.TrimPrefix(first, "# "); err.Error() != want {
				t.Errorf("got  %s\nwant %s", err, want)
			}
		})
	}
}

func TestMetadataIsKept(t *testing.T) {
	r := compile(t, `title: Key added to an application
id: 8f0d3f6c-5f6e-4c8a-9f6e-3d1c1b7a9e10
name: key_added
status: test
level: high
description: A key that somebody else may hold.
author: A, B
date: 2026-11-22
tags: [attack.persistence, attack.t1098.001]
references:
    - https://example.org/a
falsepositives: [Rotation]
fields: [actor]
logsource: {product: tallystick, service: changes}
custom: {anything: goes}
detection:
    s:
        kind: credential-added
        actor_kind: application
    condition: s
`)
	if r.ID == "" || r.Name != "key_added" || r.Status != "test" || r.Level != "high" || r.Author != "A, B" || r.Date != "2026-11-22" ||
		len(r.Tags) != 2 || len(r.References) != 1 || len(r.FalsePositives) != 1 || len(r.Fields) != 1 || r.Place != "rule:1:1" {
		t.Errorf("%+v", r)
	}
	change := &tallystick.Change{Kind: tallystick.ChangeCredentialAdded, ActorKind: "application"}
	if !r.Match(sigma.ChangeEvent{Change: change}) {
		t.Error("the change does not match")
	}
	change.ActorKind = "user"
	if r.Match(sigma.ChangeEvent{Change: change}) {
		t.Error("another change matches")
	}
}

// A rule about a cloud's log applies to a use that was read from it, without the record.
func TestUse(t *testing.T) {
	r := compile(t, `title: T
logsource: {product: azure, service: signinlogs}
detection:
    s:
        ResultType: 7000222
        IPAddress|cidr: 198.51.100.0/24
        AppId: 6a1f0000-0000-4000-8000-000000000001
    owned:
        tags.Owner: platform
    condition: s and owned
`)
	u := &tallystick.Use{Source: "entra", Outcome: tallystick.OutcomeRefused, Detail: "7000222 the key has expired", Address: "198.51.100.7",
		Credential: []string{"entra-key:1", "account:entra-app/6a1f0000-0000-4000-8000-000000000001"},
		Other:      map[string]string{"tags": `{"owner":"Platform"}`}}
	set, err := sigma.NewSet([]*sigma.Rule{r}, sigma.SetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if hits := set.Event(sigma.UseEvent{Use: u}, u.Time); len(hits) != 1 {
		t.Errorf("%d hits", len(hits))
	}
	u.Source = "cloudtrail"
	if hits := set.Event(sigma.UseEvent{Use: u}, u.Time); len(hits) != 0 {
		t.Error("a rule about one log matches a use of another")
	}
}

func TestMappedOnly(t *testing.T) {
	text := "title: T\nlogsource: {product: azure, service: signinlogs}\ndetection: {s: {%s: x}, condition: s}\n"
	for _, c := range []struct {
		field string
		taken bool
	}{{"IPAddress", true}, {"DeviceDetail.trustType", false}} {
		_, err := sigma.Compile([]byte(strings.Replace(text, "%s", c.field, 1)), sigma.Options{MappedOnly: true})
		if (err == nil) != c.taken {
			t.Errorf("%s: %v", c.field, err)
		}
	}
}

func TestRecordsOfWindows(t *testing.T) {
	r := compile(t, `title: T
logsource: {product: windows, service: security}
detection:
    s:
        EventID: 4625
        Provider_Name: Microsoft-Windows-Security-Auditing
        TargetUserName: alice
        LogonType: 3
    condition: s
`)
	for _, record := range []string{
		`<Event xmlns="http://schemas.microsoft.com/win/2004/08/events/event"><System><Provider Name="Microsoft-Windows-Security-Auditing"/><EventID>4625</EventID><TimeCreated SystemTime="2026-11-20T10:00:00Z"/></System><EventData><Data Name="TargetUserName">alice</Data><Data Name="LogonType">3</Data></EventData></Event>`,
		`{"Event":{"System":{"Provider":{"#attributes":{"Name":"Microsoft-Windows-Security-Auditing"}},"EventID":4625,"TimeCreated":{"#attributes":{"SystemTime":"2026-11-20T10:00:00Z"}}},"EventData":{"TargetUserName":"alice","LogonType":3}}}`,
		`{"EventID":4625,"SourceName":"Microsoft-Windows-Security-Auditing","TargetUserName":"Alice","LogonType":"3","@timestamp":"2026-11-20T10:00:00Z"}`,
		`{"winlog":{"event_id":"4625","provider_name":"Microsoft-Windows-Security-Auditing","event_data":{"TargetUserName":"alice","LogonType":"3"}},"@timestamp":"2026-11-20T10:00:00Z"}`,
	} {
		read := sigma.NewRecord(record, "windows-json")
		if !r.Match(read) || read.Time.Format("15:04") != "10:00" {
			t.Errorf("at %v no match of %s", read.Time, record)
		}
	}
}
