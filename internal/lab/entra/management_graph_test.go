// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// ask calls Graph; an address that begins with https is taken as it is.
func (c *stolenCase) ask(t *testing.T, token, method, address, body string, into any) int {
	t.Helper()
	if !strings.HasPrefix(address, "https") {
		address = c.servers.Graph + "/v1.0/" + address
	}
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.servers.Client("").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v in %s", resp.Status, err, text)
	}
	return resp.StatusCode
}

const queries = "security/auditLog/queries"

// searched asks a query and returns its records, when it has succeeded.
func (c *stolenCase) searched(t *testing.T, token, filters string) (records []auditLogRecord) {
	t.Helper()
	var q auditQuery
	body := `{"@odata.type":"#microsoft.graph.security.auditLogQuery","filterStartDateTime":"2026-11-20T00:00:00Z","filterEndDateTime":"2026-11-21T00:00:00Z"` + filters + `}`
	if status := c.ask(t, token, http.MethodPost, queries, body, &q); status != http.StatusCreated {
		t.Fatalf("a query answered %d", status)
	}
	for next := queries + "/" + q.ID + "/records?$top=1"; next != ""; {
		var page struct {
			Value []auditLogRecord
			Next  string `json:"@odata.nextLink"`
		}
		if status := c.ask(t, token, http.MethodGet, next, "", &page); status != http.StatusOK {
			t.Fatalf("%s answered %d", next, status)
		}
		records, next = append(records, page.Value...), page.Next
	}
	return records
}

func TestQueryRunsBeforeItSucceeds(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	c.read(t, c.token(t, ScopeGraph), c.user.PrincipalName)
	c.clock.forward(2 * time.Hour)
	token := c.token(t, ScopeGraph)
	var q auditQuery
	c.ask(t, token, http.MethodPost, queries, `{"filterStartDateTime":"2026-11-20T00:00:00Z","filterEndDateTime":"2026-11-21T00:00:00Z"}`, &q)
	for _, want := range []struct {
		status  string
		records int
	}{{"notStarted", 0}, {"running", 0}, {"succeeded", 1}} {
		var now auditQuery
		var page struct{ Value []auditLogRecord }
		c.ask(t, token, http.MethodGet, queries+"/"+q.ID, "", &now)
		c.ask(t, token, http.MethodGet, queries+"/"+q.ID+"/records", "", &page)
		if now.Status != want.status || len(page.Value) != want.records {
			t.Errorf("%s with %d records, expected %+v", now.Status, len(page.Value), want)
		}
		c.clock.forward(30 * time.Second)
	}
}

func TestQueryFindsWhatItAsksFor(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{QueryTime: -1, Latency: Always(0)})
	other := c.tenant.AddUser("cfo", "")
	c.tenant.Deliver(other, Message{Subject: "one"})
	token := c.token(t, ScopeGraph)
	read := c.read(t, token, c.user.PrincipalName)
	c.read(t, token, other.PrincipalName)
	c.tenant.SetEnabled(c.app.Principal, false)
	c.clock.forward(10 * time.Minute)
	if all := c.searched(t, token, ""); len(all) != 3 {
		t.Errorf("%d records without a filter", len(all))
	}
	for filters, want := range map[string]int{
		`,"recordTypeFilters":["exchangeItemAggregated"]`:                   2,
		`,"recordTypeFilters":["azureActiveDirectory"]`:                     1,
		`,"operationFilters":["MailItemsAccessed"],"keywordFilter":"cfo"`:   1,
		`,"userPrincipalNameFilters":["` + c.user.PrincipalName + `"]`:      1,
		`,"serviceFilters":["Exchange"],"ipAddressFilters":["192.0.2.254"]`: 0,
		`,"objectIdFilters":["` + c.app.Principal.ID + `"]`:                 1,
	} {
		if all := c.searched(t, token, filters); len(all) != want {
			t.Errorf("%s found %d, expected %d", filters, len(all), want)
		}
	}
	var text bytes.Buffer
	for _, r := range c.searched(t, token, `,"userPrincipalNameFilters":["`+c.user.PrincipalName+`"]`) {
		text.Write(append(r.Data, '\n'))
	}
	log := asProduct(t, text.Bytes())
	if len(log.uses) != 1 || log.uses[0].IDs.UTI != read.UTI {
		t.Errorf("the reader found %+v", log.uses)
	}
}

func TestQueryFindsWhatCanBeRead(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{QueryTime: -1})
	c.read(t, c.token(t, ScopeGraph), c.user.PrincipalName)
	if all := c.searched(t, c.token(t, ScopeGraph), ""); len(all) != 0 {
		t.Errorf("%d records can be read at once", len(all))
	}
	c.clock.forward(2 * time.Hour)
	if all := c.searched(t, c.token(t, ScopeGraph), ""); len(all) != 1 {
		t.Errorf("%d records after two hours", len(all))
	}
}

func TestQueryErrors(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	token := c.token(t, ScopeGraph)
	for _, row := range []struct {
		method, path, body, code string
		status                   int
	}{
		{http.MethodPost, queries, `{}`, "BadRequest", http.StatusBadRequest},
		{http.MethodPost, queries, `{"filterStartDateTime":"2026-11-21T00:00:00Z","filterEndDateTime":"2026-11-20T00:00:00Z"}`, "BadRequest", http.StatusBadRequest},
		{http.MethodGet, queries + "/nobody", "", "Request_ResourceNotFound", http.StatusNotFound},
		{http.MethodGet, queries + "/nobody/records", "", "Request_ResourceNotFound", http.StatusNotFound},
	} {
		var failed struct{ Error struct{ Code string } }
		if status := c.ask(t, token, row.method, row.path, row.body, &failed); status != row.status || failed.Error.Code != row.code {
			t.Errorf("%s %s %s: %d %s", row.method, row.path, row.body, status, failed.Error.Code)
		}
	}
	c.tenant.Revoke(c.app.Principal, Grant{Graph, "AuditLogsQuery.Read.All"})
	var failed struct{ Error struct{ Code string } }
	if c.ask(t, c.token(t, ScopeGraph), http.MethodGet, queries, "", &failed); failed.Error.Code != "Authorization_RequestDenied" {
		t.Errorf("without the permission: %q", failed.Error.Code)
	}
	var list struct{ Value []auditQuery }
	if c.ask(t, token, http.MethodGet, queries, "", &list); len(list.Value) != 0 {
		t.Errorf("queries that were refused are listed: %+v", list.Value)
	}
}
