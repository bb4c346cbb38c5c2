// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// An access of the tests, at a time after the beginning.
func access(after time.Duration, items ...string) mailAccess {
	start := time.Date(2026, 11, 20, 10, 15, 30, 0, time.UTC)
	return mailAccess{
		tenant: "11111111-2222-3333-4444-555555555555", mailbox: "ceo@customer.example", mailboxID: "d0c5f8ae-9ed7-4e46-bfdf-ea1460f5a31b",
		app: "6131d760-7fda-4db5-8bb1-b771898e9f15", principal: "b029d485-a308-4311-8720-fb3192e5284e", uti: "FVsGxYXI30-TuikuuUoFAA",
		address: "198.51.100.66", agent: "MailSync/1.0", issued: start, at: start.Add(after),
		folders: []folderAccess{{id: "LgAAAA", path: `\Inbox`, items: items}},
	}
}

// recorded returns the records that accesses leave.
func recorded(t *testing.T, c UnifiedConfig, all ...mailAccess) []mailJSON {
	t.Helper()
	w, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	a := w.NewUnifiedAudit(c)
	for _, m := range all {
		a.mail(m)
	}
	var records []mailJSON
	tenant := &Tenant{ID: "11111111-2222-3333-4444-555555555555", Domain: "customer.example"}
	for _, r := range a.tenants[tenant.ID].records {
		records = append(records, r.mail.json(r, tenant, c.OwnAddress))
	}
	return records
}

func TestBindsOfTwoMinutesAreOneRecord(t *testing.T) {
	records := recorded(t, UnifiedConfig{}, access(0, "<1>"), access(time.Minute, "<2>"), access(119*time.Second, "<3>"), access(2*time.Minute, "<4>"))
	if len(records) != 2 || records[0].OperationCount != 3 || records[1].OperationCount != 1 {
		t.Errorf("%+v", records)
	}
	if got := records[0].Folders[0].FolderItems; len(got) != 3 || got[2].InternetMessageID != "<3>" {
		t.Errorf("items %+v", got)
	}
}

func TestBindsOfOneHourAreToldOnce(t *testing.T) {
	records := recorded(t, UnifiedConfig{}, access(0, "<1>"), access(59*time.Minute, "<1>", "<2>"), access(time.Hour, "<1>"))
	var items []string
	for _, r := range records {
		for _, i := range r.Folders[0].FolderItems {
			items = append(items, i.InternetMessageID)
		}
	}
	if diff := cmp.Diff([]string{"<1>", "<2>", "<1>"}, items); diff != "" {
		t.Error(diff)
	}
}

func TestAnotherAddressIsAnotherRecord(t *testing.T) {
	elsewhere := access(time.Second, "<1>")
	elsewhere.address = "192.0.2.7"
	records := recorded(t, UnifiedConfig{}, access(0, "<1>"), elsewhere)
	if len(records) != 2 || records[0].ClientIPAddress == records[1].ClientIPAddress {
		t.Errorf("%+v", records)
	}
}

func TestAfterAThousandBindsThereIsSilence(t *testing.T) {
	var all []mailAccess
	for i := range 11 {
		var items []string
		for n := range 100 {
			items = append(items, fmt.Sprintf("<%d.%d>", i, n))
		}
		all = append(all, access(time.Duration(i)*5*time.Minute, items...))
	}
	all = append(all, access(2*time.Hour, "<late>"), access(26*time.Hour, "<next day>"))
	records := recorded(t, UnifiedConfig{}, all...)
	throttled := func(r mailJSON) bool { return slices.Contains(r.OperationProperties, nameValue{"IsThrottled", "True"}) }
	if len(records) != 12 || throttled(records[9]) || !throttled(records[10]) || records[11].Folders[0].FolderItems[0].InternetMessageID != "<next day>" {
		t.Errorf("%d records: %+v", len(records), records)
	}
}

// TestRecordsHaveTheShapeOfTheDocuments compares records with goldens that were written
// from the schema of the Management Activity API and from public records.
func TestRecordsHaveTheShapeOfTheDocuments(t *testing.T) {
	graph, sync := access(0, "<1>"), access(0)
	graph.graph, sync.sync = true, true
	for _, row := range []struct {
		golden string
		access mailAccess
	}{{"mail_graph.json", graph}, {"mail_ews.json", access(0, "<1>")}, {"mail_sync.json", sync}} {
		records := recorded(t, UnifiedConfig{}, row.access)
		if len(records) != 1 {
			t.Fatalf("%s: %d records", row.golden, len(records))
		}
		if row.access.graph && !strings.HasPrefix(records[0].ClientIPAddress, "20.190.160.") {
			t.Errorf("the address %s is not Microsoft's", records[0].ClientIPAddress)
		}
		records[0].ID = "0f9a5b1e-0000-4000-8000-000000000001"
		if row.access.graph {
			records[0].ClientIPAddress = "20.190.160.12"
		}
		sameJSON(t, row.golden, records[0])
	}
}

// sameJSON compares a value with a golden, member by member.
func sameJSON(t *testing.T, golden string, value any) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + golden)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var want, have any
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatalf("%s: %v", golden, err)
	}
	if err := json.Unmarshal(got, &have); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("%s: -documents +record\n%s", golden, diff)
	}
}

func TestReadersTakeRecordsWithoutAContext(t *testing.T) {
	graph := access(0, "<1>", "<2>")
	graph.graph = true
	text, err := json.Marshal(recorded(t, UnifiedConfig{NoContext: 1, OwnAddress: true}, graph, access(0, "<1>")))
	if err != nil {
		t.Fatal(err)
	}
	log := asProduct(t, text)
	if len(log.uses) != 2 {
		t.Fatalf("%d uses of %s", len(log.uses), text)
	}
	for _, u := range log.uses {
		if u.IDs.UTI != "" || u.Credential[0] != "account:entra-app/"+graph.app || u.Address != "198.51.100.66" {
			t.Errorf("the reader found %+v", u)
		}
	}
	if log.uses[0].Count != 2 {
		t.Errorf("it counted %d", log.uses[0].Count)
	}
}

func TestMailByExchangeIsAudited(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{Latency: Always(0)})
	holder, thief := c.adversary(t, "127.0.0.7"), c.adversary(t, "127.0.1.66")
	_, token, err := holder.Region(t.Context(), c.tenant.ID, c.key, ScopeExchange)
	if err != nil {
		t.Fatal(err)
	}
	truth, err := thief.TokenOnExchange(t.Context(), c.tenant.ID, token, c.user.PrincipalName)
	let(t, truth, err)
	c.askEWS(t, token, c.user.PrincipalName, syncInbox)
	records := c.unified.tenants[c.tenant.ID].records
	if len(records) != 2 {
		t.Fatalf("%d records", len(records))
	}
	bind, sync := records[0].mail.json(records[0], c.tenant, false), records[1].mail.json(records[1], c.tenant, false)
	if bind.OperationCount != 3 || bind.ClientIPAddress != truth.Address || bind.AppAccessContext.UniqueTokenID != truth.UTI {
		t.Errorf("bind %+v", bind)
	}
	if sync.OperationProperties[0] != (nameValue{"MailAccessType", "Sync"}) || sync.ClientIPAddress != "192.0.2.7" {
		t.Errorf("sync %+v", sync)
	}
}
