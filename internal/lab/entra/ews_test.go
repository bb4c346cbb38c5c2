// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"encoding/xml"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// askEWS posts the body of a request of EWS in the name of a mailbox.
func (c *stolenCase) askEWS(t *testing.T, token, mailbox, body string) (*http.Response, string) {
	t.Helper()
	header := `<t:RequestServerVersion Version="Exchange2016"/>`
	if mailbox != "" {
		header += `<t:ExchangeImpersonation><t:ConnectingSID><t:PrimarySmtpAddress>` + mailbox + `</t:PrimarySmtpAddress></t:ConnectingSID></t:ExchangeImpersonation>`
	}
	envelope := `<?xml version="1.0"?><soap:Envelope xmlns:soap="` + soapNamespace + `" xmlns:t="` + typesNamespace + `" xmlns:m="` + messagesNamespace + `">` +
		`<soap:Header>` + header + `</soap:Header><soap:Body>` + body + `</soap:Body></soap:Envelope>`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.servers.URLs[ServiceOutlook]+"/EWS/Exchange.asmx", strings.NewReader(envelope))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("client-request-id", "11112222-3333-4444-5555-666677778888")
	req.Header.Set("return-client-request-id", "true")
	req.Header.Set("User-Agent", "MailSync/1.0")
	resp, err := c.servers.Client("127.0.0.7").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// exchangeToken signs in for Exchange.
func (c *stolenCase) token(t *testing.T, scope string) string {
	t.Helper()
	truth, token, err := c.adversary(t, "127.0.0.7").Region(t.Context(), c.tenant.ID, c.key, scope)
	let(t, truth, err)
	return token
}

const (
	getInbox  = `<m:GetFolder><m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape><m:FolderIds><t:DistinguishedFolderId Id="inbox"/></m:FolderIds></m:GetFolder>`
	findTwo   = `<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>Default</t:BaseShape></m:ItemShape><m:IndexedPageItemView MaxEntriesReturned="2" Offset="0" BasePoint="Beginning"/><m:ParentFolderIds><t:DistinguishedFolderId Id="inbox"/></m:ParentFolderIds></m:FindItem>`
	syncInbox = `<m:SyncFolderItems><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape><m:SyncFolderId><t:DistinguishedFolderId Id="inbox"/></m:SyncFolderId><m:SyncState></m:SyncState><m:MaxChangesReturned>2</m:MaxChangesReturned></m:SyncFolderItems>`
	resolve   = `<m:ResolveNames ReturnFullContactData="false"><m:UnresolvedEntry>ce</m:UnresolvedEntry></m:ResolveNames>`
)

func getItems(ids ...string) string {
	text := `<m:GetItem><m:ItemShape><t:BaseShape>AllProperties</t:BaseShape></m:ItemShape><m:ItemIds>`
	for _, id := range ids {
		text += `<t:ItemId Id="` + id + `"/>`
	}
	return text + `</m:ItemIds></m:GetItem>`
}

// sameShape compares an answer with a golden file that was written from the
// documents, in which identifiers stand as "*".
func sameShape(t *testing.T, name, got string) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	got = regexp.MustCompile(`(Id|ChangeKey)="[^"]+"`).ReplaceAllString(got, `$1="*"`)
	got = regexp.MustCompile(`(<t:InternetMessageId>|<m:SyncState>)[^<]+`).ReplaceAllString(got, "$1*")
	got = strings.ReplaceAll(got, "><", ">\n<")
	if diff := cmp.Diff(strings.TrimSpace(string(want)), strings.TrimSpace(got)); diff != "" {
		t.Errorf("%s: -documents +answer\n%s", name, diff)
	}
}

func TestEWSOperationsHaveTheShapeOfTheDocuments(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	token := c.token(t, ScopeExchange)
	newest := c.user.Messages()[2].ID
	for _, op := range []struct{ golden, body string }{
		{"ews_getfolder.xml", getInbox}, {"ews_finditem.xml", findTwo}, {"ews_getitem.xml", getItems(newest, "gone")},
		{"ews_syncfolderitems.xml", syncInbox}, {"ews_resolvenames.xml", resolve},
	} {
		resp, text := c.askEWS(t, token, c.user.PrincipalName, op.body)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s\n%s", op.golden, resp.Status, text)
		}
		sameShape(t, op.golden, text)
		for _, name := range []string{"request-id", "X-FEServer", "X-BEServer", "X-DiagInfo", EmulatorHeader} {
			if resp.Header.Get(name) == "" {
				t.Errorf("%s: no header %s", op.golden, name)
			}
		}
		if resp.Header.Get("client-request-id") != "11112222-3333-4444-5555-666677778888" {
			t.Errorf("%s: client-request-id %q was not echoed", op.golden, resp.Header.Get("client-request-id"))
		}
	}
}

func TestEWSSyncGoesOnFromItsState(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	token := c.token(t, ScopeExchange)
	_, first := c.askEWS(t, token, c.user.PrincipalName, syncInbox)
	state := regexp.MustCompile(`<m:SyncState>([^<]+)`).FindStringSubmatch(first)[1]
	_, second := c.askEWS(t, token, c.user.PrincipalName, strings.Replace(syncInbox, "<m:SyncState>", "<m:SyncState>"+state, 1))
	if strings.Count(first, "<t:Create>") != 2 || strings.Count(second, "<t:Create>") != 1 || !strings.Contains(second, "<m:IncludesLastItemInRange>true") {
		t.Errorf("first %s\nsecond %s", first, second)
	}
	_, bad := c.askEWS(t, token, c.user.PrincipalName, strings.Replace(syncInbox, "<m:SyncState>", "<m:SyncState>c3luYy85OQ==", 1))
	if !strings.Contains(bad, "ErrorInvalidSyncStateData") {
		t.Errorf("a state of nobody: %s", bad)
	}
}

func TestEWSRefusesTokens(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	good, graph := c.token(t, ScopeExchange), c.token(t, ScopeGraph)
	expect := func(token, diagnostics string) {
		t.Helper()
		resp, _ := c.askEWS(t, token, c.user.PrincipalName, getInbox)
		if got := resp.Header.Get("x-ms-diagnostics"); resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(got, diagnostics) {
			t.Errorf("%s, x-ms-diagnostics %q, expected %s", resp.Status, got, diagnostics)
		}
	}
	expect(good[:len(good)-4]+"AAAA", "2000000;")
	expect(graph, "2000003;")
	c.tenant.Revoke(c.app.Principal, Grant{API: Exchange})
	expect(c.token(t, ScopeExchange), "2000008;")
	c.clock.forward(2 * time.Hour)
	expect(good, `2000002;reason="The access token has expired.";error_category="token_expired"`)
}

func TestEWSFaults(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	token := c.token(t, ScopeExchange)
	expect := func(mailbox, body, code string) string {
		t.Helper()
		resp, text := c.askEWS(t, token, mailbox, body)
		if resp.StatusCode != http.StatusInternalServerError || !strings.Contains(text, ">"+code+"</e:ResponseCode>") {
			t.Errorf("%s: expected the fault %s in %s", resp.Status, code, text)
		}
		return text
	}
	expect("", getInbox, "ErrorImpersonationRequired")
	expect("nobody@customer.example", getInbox, "ErrorNonExistentMailbox")
	expect(c.user.PrincipalName, "<m:DeleteFolder/>", "ErrorInvalidRequest")
	expect(c.user.PrincipalName, strings.Repeat(" ", maxEWSRequest), "ErrorSchemaValidation")
	expect(c.user.PrincipalName, "<m:", "ErrorSchemaValidation")
	c.ews.Busy(1)
	busy := expect(c.user.PrincipalName, getInbox, "ErrorServerBusy")
	sameShape(t, "ews_busy.xml", busy)
	if resp, text := c.askEWS(t, token, c.user.PrincipalName, getInbox); resp.StatusCode != http.StatusOK {
		t.Errorf("after it was busy: %s %s", resp.Status, text)
	}
}

func TestEWSConcurrencyIsLimited(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	call := &ewsCall{claims: &Claims{AppID: "a"}, user: c.user}
	for range 27 {
		if _, err := c.ews.enter(call); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.ews.enter(call); err == nil || !strings.HasPrefix(err.Error(), "ErrorExceededConnectionCount") {
		t.Errorf("the 28th: %v", err)
	}
}

func TestEWSIsClosedButForAllowedApplications(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	token := c.token(t, ScopeExchange)
	c.ews.Configure(EWSConfig{Disabled: true})
	if resp, _ := c.askEWS(t, token, c.user.PrincipalName, getInbox); resp.StatusCode != http.StatusForbidden {
		t.Errorf("EWSEnabled false: %s", resp.Status)
	}
	c.ews.Configure(EWSConfig{Disabled: true, AllowedApps: []string{strings.ToUpper(c.key.Application)}})
	if resp, _ := c.askEWS(t, token, c.user.PrincipalName, getInbox); resp.StatusCode != http.StatusOK {
		t.Errorf("EwsAllowedAppIDs: %s", resp.Status)
	}
}

// FuzzEWSRequest has envelopes of strangers read and answered.
func FuzzEWSRequest(f *testing.F) {
	for _, body := range []string{getInbox, findTwo, syncInbox, resolve, getItems("a"), "<m:"} {
		f.Add(`<s:Envelope xmlns:s="` + soapNamespace + `" xmlns:m="m" xmlns:t="t"><s:Body>` + body + `</s:Body></s:Envelope>`)
	}
	w, err := New(Config{})
	if err != nil {
		f.Fatal(err)
	}
	tenant := w.AddTenant(TenantSpec{})
	user := tenant.AddUser("ceo", "Chief")
	tenant.Deliver(user, Message{Subject: "first"})
	f.Fuzz(func(t *testing.T, text string) {
		c := &ewsCall{tenant: tenant, claims: &Claims{}, user: user}
		if xml.Unmarshal([]byte(text), &c.asked) != nil {
			return
		}
		answer, err := w.NewEWS(EWSConfig{}, nil).operation(c)
		if err != nil {
			return
		}
		if _, err := xml.Marshal(answer); err != nil {
			t.Error(err)
		}
	})
}
