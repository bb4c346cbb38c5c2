// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// contentKept is how long content can be fetched.
const contentKept = 7 * 24 * time.Hour

// A blob is content as a listing names it.
type blob struct {
	ContentType       string `json:"contentType"`
	ContentID         string `json:"contentId"`
	ContentURI        string `json:"contentUri"`
	ContentCreated    string `json:"contentCreated"`
	ContentExpiration string `json:"contentExpiration"`

	created time.Time
}

// admit lets a request in whose token is for the tenant in its path and may read
// the feed.
func (a *UnifiedAudit) admit(m *managementRequest) error {
	m.Header().Set(EmulatorHeader, "entra")
	name := m.PathValue("tenant")
	if _, ok := parseGUID(name); !ok {
		return refuse(http.StatusBadRequest, "AF20013", "The tenant ID passed in the URL (%s) is not a valid GUID.", name)
	}
	tenant, claims, problem := a.world.authenticate(m.Request, Management)
	if problem != "" {
		m.Header().Set("WWW-Authenticate", "Bearer")
		return refuse(http.StatusUnauthorized, "AF10001", "The permission set () sent in the request did not include the expected permission ActivityFeed.Read.")
	}
	if in := a.world.injected(Attempt{ServiceManagement, tenant.ID, claims.AppID, m.Method, m.URL.Path}); in != nil {
		if in.RetryAfter > 0 {
			m.Header().Set("Retry-After", strconv.Itoa(int(in.RetryAfter.Seconds())))
		}
		return refuse(in.Status, cmp.Or(in.Code, "AF50000"), "An internal error occurred. Retry the request.")
	}
	if !strings.EqualFold(claims.Tenant, name) {
		return refuse(http.StatusForbidden, "AF20010", "The tenant ID passed in the URL (%s) does not match the tenant ID passed in the access token (%s).", name, claims.Tenant)
	}
	if !claims.Has("ActivityFeed.Read") {
		return refuse(http.StatusForbidden, "AF10001", "The permission set (%s) sent in the request did not include the expected permission ActivityFeed.Read.", strings.Join(claims.Roles, " "))
	}
	if _, ok := parseGUID(m.publisher()); !ok {
		return refuse(http.StatusBadRequest, "AF20002", "Invalid parameter type: PublisherIdentifier. Expected type: guid")
	}
	m.tenant, m.app = tenant, claims.AppID
	return nil
}

// slot is the time of the blob that holds what is available at an instant: when
// it is created.
func (a *UnifiedAudit) slot(at time.Time) time.Time {
	return at.Truncate(a.config.BlobEvery).Add(a.config.BlobEvery)
}

// slots are the blobs that a record is in.
func (a *UnifiedAudit) slots(r *auditRecord) []time.Time {
	all := []time.Time{a.slot(r.available)}
	if !r.again.IsZero() {
		all = append(all, a.slot(r.again))
	}
	return all
}

func (a *UnifiedAudit) listContent(m *managementRequest) error {
	s, err := a.subscribed(m)
	if err != nil {
		return err
	}
	from, to, err := m.span()
	if err != nil {
		return err
	}
	blobs := a.blobs(m, s)
	blobs = slices.DeleteFunc(blobs, func(b blob) bool {
		return b.created.Before(from) || !b.created.Before(to) || b.created.After(m.now)
	})
	part, err := page(m, blobs, a.config.PageSize, from, to)
	if err != nil {
		return err
	}
	m.answer(http.StatusOK, part)
	return nil
}

// blobs lists what there is for a subscription, in the order in which it came.
func (a *UnifiedAudit) blobs(m *managementRequest, s *subscription) []blob {
	have := map[time.Time]bool{}
	for _, r := range a.tenant(m.tenant.ID).records {
		if r.contentType() != s.ContentType || r.available.Before(s.since) {
			continue
		}
		for _, slot := range a.slots(r) {
			have[slot] = true
		}
	}
	blobs := []blob{}
	for slot := range have {
		created := later(slot, s.first)
		id := a.contentID(m.tenant, s, slot)
		blobs = append(blobs, blob{
			ContentType: s.ContentType, ContentID: id, created: created,
			ContentURI:     "https://" + m.Host + "/api/v1.0/" + m.tenant.ID + "/activity/feed/audit/" + id,
			ContentCreated: created.Format("2006-01-02T15:04:05.000Z"), ContentExpiration: created.Add(contentKept).Format("2006-01-02T15:04:05.000Z"),
		})
	}
	slices.SortFunc(blobs, func(x, y blob) int {
		return cmp.Or(x.created.Compare(y.created), strings.Compare(x.ContentID, y.ContentID))
	})
	return blobs
}

// contentID names a blob; it has the form of those of the reference, and clients
// are not to read it.
func (a *UnifiedAudit) contentID(t *Tenant, s *subscription, slot time.Time) string {
	stamp := strconv.FormatInt(slot.UnixMilli(), 10)
	kind := strings.ToLower(strings.TrimPrefix(s.ContentType, "Audit."))
	return strings.Join([]string{stamp, stamp, strings.ReplaceAll(t.ID, "-", "") + kind + slot.Format("2006010215"), strings.Repeat("0", 32), "04"}, "$")
}

func (a *UnifiedAudit) getContent(m *managementRequest) error {
	id := m.PathValue("content")
	parts := strings.Split(id, "$")
	millis, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil || len(parts) != 5 {
		return refuse(http.StatusBadRequest, "AF20052", "Content ID %s in the URL is invalid.", id)
	}
	slot := time.UnixMilli(millis).UTC()
	for _, name := range contentTypes {
		s := a.tenant(m.tenant.ID).subscriptions[m.app+" "+name]
		if s == nil || a.contentID(m.tenant, s, slot) != id {
			continue
		}
		created := later(slot, s.first)
		if m.now.Sub(created) > contentKept {
			return refuse(http.StatusBadRequest, "AF20051", "Content requested with the key %s has already expired. Content older than 7 days cannot be retrieved.", id)
		}
		if records := a.content(m.tenant, s, slot); len(records) > 0 && !created.After(m.now) && s.Status == "enabled" {
			m.answer(http.StatusOK, records)
			return nil
		}
	}
	return refuse(http.StatusBadRequest, "AF20050", "The specified content (%s) does not exist.", id)
}

// content returns the records of a blob. They come in any order, but always the same.
func (a *UnifiedAudit) content(t *Tenant, s *subscription, slot time.Time) []any {
	var in []*auditRecord
	for _, r := range a.tenant(t.ID).records {
		if r.contentType() == s.ContentType && !r.available.Before(s.since) && slices.ContainsFunc(a.slots(r), slot.Equal) {
			in = append(in, r)
		}
	}
	if !a.config.Ordered { // an id is as good as a draw
		slices.SortFunc(in, func(x, y *auditRecord) int { return strings.Compare(x.id, y.id) })
	}
	records := make([]any, 0, len(in))
	for _, r := range in {
		records = append(records, r.json(t, a.config.OwnAddress))
	}
	return records
}

// json is a record as it is read.
func (r *auditRecord) json(t *Tenant, ownAddress bool) any {
	if r.mail != nil {
		return r.mail.json(r, t, ownAddress)
	}
	return json.RawMessage(r.directory.text)
}
