// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
)

const publisher = "PublisherIdentifier=46b472a7-c68e-4adf-8ade-3db49497518e"

// manage calls the Management Activity API; an address that begins with https is
// taken as it is.
func (c *stolenCase) manage(t *testing.T, token, method, address string, into any) *http.Response {
	t.Helper()
	if !strings.HasPrefix(address, "https") {
		address = c.servers.URLs[ServiceManagement] + "/api/v1.0/" + c.tenant.ID + "/activity/feed/" + address
	}
	req, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := c.servers.Client("").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatalf("%s: %v in %s", resp.Status, err, text)
		}
	}
	return resp
}

// expectAF expects an error with its code.
func (c *stolenCase) expectAF(t *testing.T, token, method, address, code string) {
	t.Helper()
	var failed struct {
		Error struct{ Code, Message string }
	}
	resp := c.manage(t, token, method, address, &failed)
	if resp.StatusCode < 400 || failed.Error.Code != code || failed.Error.Message == "" {
		t.Errorf("%s %s: %s %+v, expected %s", method, address, resp.Status, failed, code)
	}
}

// content lists what there is between two times, page by page.
func (c *stolenCase) content(t *testing.T, token, kind string, from, to time.Time) (all []blob) {
	t.Helper()
	next := "subscriptions/content?contentType=" + kind + "&startTime=" + unifiedTime(from) + "&endTime=" + unifiedTime(to) + "&" + publisher
	for next != "" {
		var part []blob
		resp := c.manage(t, token, http.MethodGet, next, &part)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", next, resp.Status)
		}
		all = append(all, part...)
		next = resp.Header.Get("NextPageUri")
	}
	return all
}

// fetch reads the records of blobs.
func (c *stolenCase) fetch(t *testing.T, token string, blobs []blob) (records []json.RawMessage) {
	t.Helper()
	for _, b := range blobs {
		var in []json.RawMessage
		c.manage(t, token, http.MethodGet, b.ContentURI, &in)
		records = append(records, in...)
	}
	return records
}

// read has an application read mail through Graph.
func (c *stolenCase) read(t *testing.T, token, mailbox string) Truth {
	t.Helper()
	truth, err := c.adversary(t, "127.0.1.66").TokenOnGraph(t.Context(), c.tenant.ID, token, mailbox)
	return let(t, truth, err)
}

func TestContentFromSubscriptionToRecord(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	feed, graph := c.token(t, ScopeManagement), c.token(t, ScopeGraph)
	var started, listed any
	c.manage(t, feed, http.MethodPost, "subscriptions/start?contentType=Audit.Exchange&"+publisher, &started)
	if text, _ := json.Marshal(started); string(text) != `{"contentType":"Audit.Exchange","status":"enabled","webhook":null}` {
		t.Errorf("start answered %s", text)
	}
	c.expectAF(t, feed, http.MethodPost, "subscriptions/start?contentType=Audit.Exchange&"+publisher, "AF20024")
	c.manage(t, feed, http.MethodGet, "subscriptions/list?"+publisher, &listed)
	if text, _ := json.Marshal(listed); string(text) != `[{"contentType":"Audit.Exchange","status":"enabled","webhook":null}]` {
		t.Errorf("list answered %s", text)
	}
	read := c.read(t, graph, c.user.PrincipalName)
	at := c.world.Now()

	c.clock.forward(59 * time.Minute)
	feed = c.token(t, ScopeManagement)
	if early := c.content(t, feed, "Audit.Exchange", at, at.Add(24*time.Hour)); len(early) != 0 {
		t.Errorf("content after 59 minutes: %+v", early)
	}
	c.clock.forward(12 * time.Hour)
	feed = c.token(t, ScopeManagement)
	blobs := c.content(t, feed, "Audit.Exchange", at, at.Add(24*time.Hour))
	if len(blobs) != 1 {
		t.Fatalf("%d blobs after 13 hours", len(blobs))
	}
	if created, err := time.Parse(time.RFC3339, blobs[0].ContentCreated); err != nil || created.Before(at.Add(time.Hour)) || created.After(at.Add(12*time.Hour)) {
		t.Errorf("created %s, error %v", created, err)
	}
	text, err := json.Marshal(c.fetch(t, feed, blobs))
	if err != nil {
		t.Fatal(err)
	}
	log := asProduct(t, text)
	if log.format != "unified-audit" || len(log.uses) != 1 {
		t.Fatalf("%s with %d uses: %s", log.format, len(log.uses), text)
	}
	use := log.uses[0]
	if use.Credential[0] != "account:entra-app/"+c.key.Application || use.IDs.UTI != read.UTI || use.Count != 3 || use.Resource != c.user.PrincipalName ||
		use.RelyingParty != "entra:"+c.tenant.ID+"/"+Exchange || !strings.HasPrefix(use.Address, "20.190.160.") || !use.Time.Equal(at) {
		t.Errorf("the reader found %+v", use)
	}
}

func TestFirstContentIsHoursLate(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{Latency: Always(0)})
	c.manage(t, c.token(t, ScopeManagement), http.MethodPost, "subscriptions/start?contentType=Audit.Exchange", nil)
	at := c.world.Now()
	s := c.unified.tenants[c.tenant.ID].subscriptions[c.key.Application+" Audit.Exchange"]
	if s.first.Before(at) || s.first.After(at.Add(12*time.Hour)) {
		t.Errorf("the first content comes at %s", s.first)
	}
	s.first = at.Add(6 * time.Hour)
	c.read(t, c.token(t, ScopeGraph), c.user.PrincipalName)
	for _, after := range []time.Duration{6*time.Hour - time.Second, time.Second} {
		c.clock.forward(after)
		blobs := c.content(t, c.token(t, ScopeManagement), "Audit.Exchange", at, at.Add(24*time.Hour))
		if late := !c.world.Now().Before(s.first); late != (len(blobs) == 1) {
			t.Errorf("at %s there are %d blobs", c.world.Now(), len(blobs))
		}
	}
}

func TestContentOfADayExpiresAfterSeven(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{FirstBlob: -1})
	feed := c.token(t, ScopeManagement)
	c.manage(t, feed, http.MethodPost, "subscriptions/start?contentType=Audit.Exchange", nil)
	c.read(t, c.token(t, ScopeGraph), c.user.PrincipalName)
	at := c.world.Now()
	c.clock.forward(7 * 24 * time.Hour)
	feed = c.token(t, ScopeManagement)
	blobs := c.content(t, feed, "Audit.Exchange", at, at.Add(24*time.Hour))
	if len(blobs) != 1 || len(c.fetch(t, feed, blobs)) != 1 {
		t.Fatalf("%d blobs after seven days", len(blobs))
	}
	c.clock.forward(2 * time.Hour)
	feed = c.token(t, ScopeManagement)
	c.expectAF(t, feed, http.MethodGet, blobs[0].ContentURI, "AF20051")
	c.expectAF(t, feed, http.MethodGet, "subscriptions/content?contentType=Audit.Exchange&startTime="+unifiedTime(at)+"&endTime="+unifiedTime(at.Add(time.Hour)), "AF20030")
}

// manyReads has twenty mailboxes read, one a second, and returns the blobs that tell of it.
func (c *stolenCase) manyReads(t *testing.T) (blobs [][]mailJSON) {
	t.Helper()
	feed, graph := c.token(t, ScopeManagement), c.token(t, ScopeGraph)
	c.manage(t, feed, http.MethodPost, "subscriptions/start?contentType=Audit.Exchange", nil)
	at := c.world.Now()
	for i := range 20 {
		u := c.tenant.AddUser(fmt.Sprintf("user%d", i), "")
		c.tenant.Deliver(u, Message{Subject: "one"})
		c.read(t, graph, u.PrincipalName)
		c.clock.forward(time.Second)
	}
	c.clock.forward(5 * time.Hour)
	feed = c.token(t, ScopeManagement)
	for _, b := range c.content(t, feed, "Audit.Exchange", at, at.Add(24*time.Hour)) {
		var records []mailJSON
		c.manage(t, feed, http.MethodGet, b.ContentURI, &records)
		blobs = append(blobs, records)
	}
	return blobs
}

// unordered counts the blobs whose records are not in the order of their events.
func unordered(blobs [][]mailJSON) (n int) {
	for _, b := range blobs {
		if !slices.IsSortedFunc(b, func(x, y mailJSON) int { return strings.Compare(x.CreationTime, y.CreationTime) }) {
			n++
		}
	}
	return n
}

func TestContentIsUnorderedAndComesTwice(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{FirstBlob: -1, Duplicates: 1, NoContext: 0.5, PageSize: 2})
	blobs := c.manyReads(t)
	times, bare := map[string]int{}, map[string]bool{}
	for _, r := range slices.Concat(blobs...) {
		times[r.ID]++
		if r.AppAccessContext == nil {
			bare[r.ID] = true
		}
	}
	for id, n := range times {
		if n != 2 {
			t.Errorf("the record %s came %d times", id, n)
		}
	}
	if len(blobs) < 3 || unordered(blobs) == 0 || len(times) != 20 || len(bare) == 0 || len(bare) == 20 {
		t.Errorf("%d blobs, %d of them unordered, %d records, %d without a context", len(blobs), unordered(blobs), len(times), len(bare))
	}
}

func TestContentCanBeOrdered(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{FirstBlob: -1, Ordered: true})
	if blobs := c.manyReads(t); len(slices.Concat(blobs...)) != 20 || unordered(blobs) != 0 {
		t.Errorf("%d of %d blobs are unordered", unordered(blobs), len(blobs))
	}
}

func TestManagementErrors(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{FirstBlob: -1})
	feed := c.token(t, ScopeManagement)
	root := c.servers.URLs[ServiceManagement] + "/api/v1.0/"
	other := c.world.AddTenant(TenantSpec{Name: "Other"})
	for _, row := range []struct{ method, address, code string }{
		{http.MethodPost, "subscriptions/start", "AF20001"},
		{http.MethodPost, "subscriptions/start?contentType=Audit.Nothing", "AF20020"},
		{http.MethodPost, "subscriptions/start?contentType=Audit.Exchange&PublisherIdentifier=me", "AF20002"},
		{http.MethodPost, root + other.ID + "/activity/feed/subscriptions/start?contentType=Audit.Exchange", "AF20010"},
		{http.MethodPost, root + "customer/activity/feed/subscriptions/start?contentType=Audit.Exchange", "AF20013"},
		{http.MethodGet, "subscriptions/content?contentType=Audit.Exchange", "AF20022"},
		{http.MethodPost, "subscriptions/stop?contentType=Audit.Exchange", "AF20022"},
		{http.MethodGet, "audit/nothing", "AF20052"},
		{http.MethodGet, "audit/" + url.PathEscape("1$1$x$0$04"), "AF20050"},
	} {
		c.expectAF(t, feed, row.method, row.address, row.code)
	}
	c.manage(t, feed, http.MethodPost, "subscriptions/start?contentType=Audit.Exchange", nil)
	for _, row := range []struct{ query, code string }{
		{"startTime=2026-11-20", "AF20030"}, {"startTime=2026-11-20&endTime=2026-11-22", "AF20030"}, {"startTime=yesterday&endTime=2026-11-20", "AF20002"},
		{"nextPage=2099R1", "AF20031"},
	} {
		c.expectAF(t, feed, http.MethodGet, "subscriptions/content?contentType=Audit.Exchange&"+row.query, row.code)
	}
	c.unified.DisableSubscription(c.tenant, c.key.Application, "Audit.Exchange")
	c.expectAF(t, feed, http.MethodGet, "subscriptions/content?contentType=Audit.Exchange", "AF20022")
	c.expectAF(t, c.token(t, ScopeGraph), http.MethodGet, "subscriptions/list", "AF10001")
	c.tenant.Revoke(c.app.Principal, Grant{API: Management})
	c.expectAF(t, c.token(t, ScopeManagement), http.MethodGet, "subscriptions/list", "AF10001")
	c.world.SetFaults(func(f *Faults) {
		f.Inject = func(a Attempt) *Injected {
			if a.Service != ServiceManagement {
				return nil
			}
			return &Injected{Status: http.StatusInternalServerError}
		}
	})
	c.expectAF(t, feed, http.MethodGet, "subscriptions/list", "AF50000")
}

func TestManagementIsThrottled(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{PerMinute: 2})
	feed := c.token(t, ScopeManagement)
	for range 2 {
		c.manage(t, feed, http.MethodGet, "subscriptions/list", nil)
	}
	c.expectAF(t, feed, http.MethodGet, "subscriptions/list", "AF429")
	c.clock.forward(time.Minute)
	if resp := c.manage(t, feed, http.MethodGet, "subscriptions/list", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("a minute later: %s", resp.Status)
	}
}

func TestDirectoryChangesAreInTheFeed(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{FirstBlob: -1, Latency: Always(0)})
	feed, graph := c.token(t, ScopeManagement), c.token(t, ScopeGraph)
	c.manage(t, feed, http.MethodPost, "subscriptions/start?contentType=Audit.AzureActiveDirectory", nil)
	at := c.world.Now()
	truth, _, err := c.adversary(t, "127.0.1.66").AddCredential(t.Context(), c.tenant.ID, graph, c.key, KindAddedToApp, c.app.Application.ID)
	let(t, truth, err)
	c.tenant.SetEnabled(c.app.Principal, false)
	c.tenant.Consent(c.app.Principal, Grant{Graph, "Mail.Send"})
	c.clock.forward(20 * time.Minute)
	text, err := json.Marshal(c.fetch(t, feed, c.content(t, feed, "Audit.AzureActiveDirectory", at, at.Add(24*time.Hour))))
	if err != nil {
		t.Fatal(err)
	}
	log := asProduct(t, text)
	i := slices.IndexFunc(log.changes, func(ch tallystick.Change) bool { return slices.Contains(ch.Credential, "entra-key:"+truth.KeyID) })
	if i < 0 {
		t.Fatalf("no change with the key %s in %s", truth.KeyID, text)
	}
	added := log.changes[i]
	if added.Kind != tallystick.ChangeCredentialAdded || added.Actor != "account:entra-app/"+c.key.Application || added.Address != truth.Address ||
		!strings.HasSuffix(added.Target, c.tenant.ID+"/"+c.app.Application.ID) || added.Existing != 1 {
		t.Errorf("the reader found %+v", added)
	}
	if !slices.ContainsFunc(log.changes, func(ch tallystick.Change) bool { return slices.Contains(ch.Grants, "Mail.Send") }) {
		t.Errorf("no grant in %+v", log.changes)
	}
}
