// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The Management Activity API, as "Office 365 Management Activity API reference"
// describes it. Webhooks are not had: they are slower than asking.

// A subscription is what an application has asked a tenant for.
type subscription struct {
	ContentType string `json:"contentType"`
	Status      string `json:"status"`
	Webhook     *struct {
		Address string `json:"address"`
	} `json:"webhook"`

	since, first time.Time // from when on there is content, and when the first of it comes
}

var contentTypes = []string{"Audit.AzureActiveDirectory", "Audit.Exchange", "Audit.SharePoint", "Audit.General", "DLP.All"}

// A managementError is an error of the API, with its code.
type managementError struct {
	status        int
	code, message string
}

func (e *managementError) Error() string { return e.code + ": " + e.message }

func refuse(status int, code, format string, args ...any) *managementError {
	return &managementError{status, code, fmt.Sprintf(format, args...)}
}

// ManagementHandler serves {root}/api/v1.0/{tenant}/activity/feed/.
func (a *UnifiedAudit) ManagementHandler() http.Handler {
	mux := http.NewServeMux()
	for pattern, serve := range map[string]func(*managementRequest) error{
		"POST /api/v1.0/{tenant}/activity/feed/subscriptions/start":  a.startSubscription,
		"POST /api/v1.0/{tenant}/activity/feed/subscriptions/stop":   a.stopSubscription,
		"GET /api/v1.0/{tenant}/activity/feed/subscriptions/list":    a.listSubscriptions,
		"GET /api/v1.0/{tenant}/activity/feed/subscriptions/content": a.listContent,
		"GET /api/v1.0/{tenant}/activity/feed/audit/{content}":       a.getContent,
	} {
		mux.HandleFunc(pattern, func(rw http.ResponseWriter, req *http.Request) { a.serveManagement(rw, req, serve) })
	}
	return mux
}

// A managementRequest is a request that was let in.
type managementRequest struct {
	http.ResponseWriter
	*http.Request
	tenant *Tenant
	app    string
	now    time.Time
}

// serveManagement lets a request in and answers what came of it.
func (a *UnifiedAudit) serveManagement(rw http.ResponseWriter, req *http.Request, serve func(*managementRequest) error) {
	m := &managementRequest{ResponseWriter: rw, Request: req, now: a.world.Now()}
	err := a.admit(m)
	if err == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		if err = a.throttle(m); err == nil {
			err = serve(m)
		}
	}
	if err != nil {
		m.fail(err)
	}
}

func (m *managementRequest) fail(err error) {
	failed, ok := err.(*managementError)
	if !ok {
		failed = refuse(http.StatusInternalServerError, "AF50000", "An internal error occurred. Retry the request.")
	}
	m.answer(failed.status, map[string]any{"error": map[string]string{"code": failed.code, "message": failed.message}})
}

func (m *managementRequest) answer(status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		status, text = http.StatusInternalServerError, nil
	}
	m.Header().Set("Content-Type", "application/json; charset=utf-8")
	m.WriteHeader(status)
	m.ResponseWriter.Write(text) // the client may be gone
}

// Header is that of the answer.
func (m *managementRequest) Header() http.Header { return m.ResponseWriter.Header() }

// throttle counts the requests of a tenant.
func (a *UnifiedAudit) throttle(m *managementRequest) error {
	t := a.tenant(m.tenant.ID)
	if m.now.Sub(t.minute) >= time.Minute {
		t.minute, t.requests = m.now, 0
	}
	t.requests++
	if t.requests > a.config.PerMinute {
		return refuse(http.StatusTooManyRequests, "AF429", "Too many requests. Method=%s, PublisherId=%s", m.Method, m.publisher())
	}
	return nil
}

// publisher is the tenant of who wrote the program.
func (m *managementRequest) publisher() string {
	if id := m.URL.Query().Get("PublisherIdentifier"); id != "" {
		return id
	}
	return "00000000-0000-0000-0000-000000000000"
}

// contentType checks the one that a request names.
func (m *managementRequest) contentType() (string, error) {
	name := m.URL.Query().Get("contentType")
	if name == "" {
		return "", refuse(http.StatusBadRequest, "AF20001", "Missing parameter: contentType.")
	}
	i := slices.IndexFunc(contentTypes, func(t string) bool { return strings.EqualFold(t, name) })
	if i < 0 {
		return "", refuse(http.StatusBadRequest, "AF20020", "The specified content type is not valid.")
	}
	return contentTypes[i], nil
}

func (a *UnifiedAudit) startSubscription(m *managementRequest) error {
	name, err := m.contentType()
	if err != nil {
		return err
	}
	t := a.tenant(m.tenant.ID)
	key := m.app + " " + name
	if old := t.subscriptions[key]; old != nil && old.Status == "enabled" {
		// Not in the reference, and what everybody who starts twice is told.
		return refuse(http.StatusBadRequest, "AF20024", "The subscription is already enabled. No property change.")
	}
	s := &subscription{ContentType: name, Status: "enabled", since: m.now, first: m.now.Add(a.world.within(a.config.FirstBlob))}
	t.subscriptions[key] = s
	m.answer(http.StatusOK, s)
	return nil
}

func (a *UnifiedAudit) stopSubscription(m *managementRequest) error {
	s, err := a.subscribed(m)
	if err != nil {
		return err
	}
	s.Status = "disabled"
	m.WriteHeader(http.StatusOK)
	return nil
}

// subscribed returns the subscription that a request is about.
func (a *UnifiedAudit) subscribed(m *managementRequest) (*subscription, error) {
	name, err := m.contentType()
	if err != nil {
		return nil, err
	}
	s := a.tenant(m.tenant.ID).subscriptions[m.app+" "+name]
	if s == nil || s.Status != "enabled" {
		return nil, refuse(http.StatusBadRequest, "AF20022", "No subscription found for the specified content type.")
	}
	return s, nil
}

func (a *UnifiedAudit) listSubscriptions(m *managementRequest) error {
	all := []*subscription{}
	for _, name := range contentTypes {
		if s := a.tenant(m.tenant.ID).subscriptions[m.app+" "+name]; s != nil {
			all = append(all, s)
		}
	}
	m.answer(http.StatusOK, all)
	return nil
}

// DisableSubscription is what an administrator of the tenant can do.
func (a *UnifiedAudit) DisableSubscription(t *Tenant, application, contentType string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.tenant(t.ID).subscriptions[application+" "+contentType]; s != nil {
		s.Status = "disabled"
	}
}

// span reads the times of a listing: both or none, in 24 hours, of seven days.
func (m *managementRequest) span() (from, to time.Time, err error) {
	start, end := m.URL.Query().Get("startTime"), m.URL.Query().Get("endTime")
	if start == "" && end == "" {
		return m.now.Add(-24 * time.Hour), m.now, nil
	}
	for _, p := range []struct {
		name, value string
		into        *time.Time
	}{{"startTime", start, &from}, {"endTime", end, &to}} {
		if p.value == "" {
			continue // said below
		}
		if *p.into, err = readSpan(p.value); err != nil {
			return from, to, refuse(http.StatusBadRequest, "AF20002", "Invalid parameter type: %s. Expected type: datetime", p.name)
		}
	}
	if start == "" || end == "" || to.Before(from) || to.Sub(from) > 24*time.Hour || m.now.Sub(from) > contentKept {
		return from, to, refuse(http.StatusBadRequest, "AF20030", "Start time and end time must both be specified (or both omitted) and must be less than or equal to 24 hours apart, with the start time no more than 7 days in the past.")
	}
	return from, to, nil
}

// readSpan reads the forms of a time that the reference lists, in UTC.
func readSpan(text string) (at time.Time, err error) {
	for _, form := range []string{"2006-01-02", "2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if at, err = time.Parse(form, strings.TrimSuffix(text, "Z")); err == nil {
			break
		}
	}
	return at, err
}

// page takes the part of a listing that a request asks for, and says in the
// answer where the next is.
func page[T any](m *managementRequest, all []T, size int, from, to time.Time) ([]T, error) {
	at := 0
	if next := m.URL.Query().Get("nextPage"); next != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(next, m.now.Format("20060102")+"R"))
		if err != nil || n < 0 || n > len(all) {
			return nil, refuse(http.StatusBadRequest, "AF20031", "Invalid nextPage Input: %s.", next)
		}
		at = n
	}
	if at+size < len(all) {
		query := m.URL.Query()
		query.Set("startTime", unifiedTime(from))
		query.Set("endTime", unifiedTime(to))
		query.Set("nextPage", m.now.Format("20060102")+"R"+fmt.Sprintf("%012d", at+size))
		m.Header().Set("NextPageUri", "https://"+m.Host+m.URL.Path+"?"+query.Encode())
	}
	return all[at:min(at+size, len(all))], nil
}
