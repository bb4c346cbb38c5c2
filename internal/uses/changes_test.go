// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
)

// TestGoldenChanges reads the logs that hold changes beside uses. Those of Samba
// are of a real domain controller, 4.17.12.
func TestGoldenChanges(t *testing.T) {
	paths, err := filepath.Glob("testdata/changes/*.log")
	if err != nil || len(paths) < 5 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		format := strings.TrimSuffix(filepath.Base(path), ".log")
		got := found(t, path, format)
		golden := strings.TrimSuffix(path, ".log") + ".golden"
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got); d != "" {
			t.Errorf("%s:\n%s", path, d)
		}
	}
}

// changesOf returns the changes of a file.
func changesOf(t testing.TB, path string) (list []tallystick.Change) {
	t.Helper()
	for line := range strings.Lines(found(t, path, "")) {
		if text, ok := strings.CutPrefix(line, "change "); ok {
			var c tallystick.Change
			if err := json.Unmarshal([]byte(text), &c); err != nil {
				t.Fatal(err)
			}
			list = append(list, c)
		}
	}
	return list
}

func TestOperationsCompareNormalised(t *testing.T) {
	const want = "update application - certificates and secrets management"
	for _, name := range []string{
		"Update application \u2013 Certificates and secrets management ", "Update application - Certificates and secrets management.",
		"Update\u00a0application\u00a0\u2014 certificates and secrets management", "UPDATE APPLICATION  \u2013  CERTIFICATES AND SECRETS MANAGEMENT",
	} {
		if got := normalOperation(name); got != want {
			t.Errorf("%q is %q", name, got)
		}
	}
}

// A display name is free text: what looks like a fact in it is none.
func TestADisplayNameForgesNoKey(t *testing.T) {
	entry := "KeyIdentifier=59eaeebc-8a6b-44a6-9f24-7d55e64420c9,KeyType=Password,KeyUsage=Verify,DisplayName=x,KeyIdentifier=00000000-0000-0000-0000-000000000001]"
	list := keyDescriptions(`["[` + entry + `]"]`)
	if d := cmp.Diff([]string{entry}, list); d != "" {
		t.Fatal(d)
	}
	if d := cmp.Diff([]string{"entra-key:59eaeebc-8a6b-44a6-9f24-7d55e64420c9"}, keyNames(list[0])); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"entra-key:59eaeebc-8a6b-44a6-9f24-7d55e64420c9", "x5t:0000000000000000000000000000000000000000"},
		keyNames("KeyIdentifier=59eaeebc-8a6b-44a6-9f24-7d55e64420c9,CustomKeyIdentifier=AAAAAAAAAAAAAAAAAAAAAAAAAAA=,KeyType=x")); d != "" {
		t.Error(d)
	}
}

// A record of Entra's three shapes and of the unified audit names the same key.
func TestShapesOfOneChangeAgree(t *testing.T) {
	const key = "entra-key:59eaeebc-8a6b-44a6-9f24-7d55e64420c9"
	for _, path := range []string{"testdata/entra-audit.log", "testdata/entra-audit-diagnostic.log", "testdata/entra-audit-la.log", "testdata/changes/unified-audit.log"} {
		c := changesOf(t, path)[0]
		if c.Kind != tallystick.ChangeCredentialAdded || c.Existing != 0 || !cmp.Equal(c.Credential, []string{key}) ||
			!cmp.Equal(c.Accounts, []string{"account:entra-app/6b1f0c7e-2a57-4c1e-9a3e-7f2f5b0d9c21"}) {
			t.Errorf("%s: %+v", path, c)
		}
	}
}

func TestKeepChangeSharesNothing(t *testing.T) {
	c := tallystick.Change{ID: "a", Accounts: []string{"b"}, Existing: -1}
	k := KeepChange(&c)
	if d := cmp.Diff(c, k); d != "" {
		t.Error(d)
	}
	k.Accounts[0] = "x"
	if c.Accounts[0] != "b" {
		t.Error("the lists share memory")
	}
}

// No secret that a log may hold ends in a change.
func TestSecretsStayOut(t *testing.T) {
	record := `{"id":"1","activityDateTime":"2026-11-20T10:15:30Z","activityDisplayName":"Update external secrets","initiatedBy":{},"additionalDetails":[],
		"targetResources":[{"id":"p","displayName":"p","type":"Policy","modifiedProperties":[{"displayName":"SecretText","oldValue":null,"newValue":"hunter2"},{"displayName":"Hint","oldValue":"hun","newValue":null},{"displayName":"Policy","oldValue":"a","newValue":"b"}]}]}`
	p := &printer{}
	if err := readEntraAudit(record, p); err != nil {
		t.Fatal(err)
	}
	if got := p.out.String(); strings.Contains(got, "hun") || !strings.Contains(got, "Policy=b") {
		t.Error(got)
	}
}

// A changeTaker takes everything, and holds changes to what is promised of them.
type changeTaker struct{ sinkFunc }

func (changeTaker) Change(c *tallystick.Change) {
	if c.Target == "" || c.Kind == "" || c.Source == "" || len(c.Before) > maxShown+3 || len(c.After) > maxShown+3 || strings.ContainsAny(c.After+c.Before+c.TargetName, "\n\r\x00") {
		panic(c)
	}
}

// FuzzChanges reads anything as every format, with a sink that takes changes.
func FuzzChanges(f *testing.F) {
	for _, pattern := range []string{"testdata/*.log", "testdata/changes/*.log", "testdata/otrf/*.json"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			f.Fatal(pattern, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				f.Add(line)
			}
		}
	}
	sink := changeTaker{func(*tallystick.Use) {}}
	f.Fuzz(func(t *testing.T, record string) {
		for _, format := range Formats() {
			format.is(record)
			_ = format.reader(Settings{Near: near})(record, sink)
		}
	})
}
