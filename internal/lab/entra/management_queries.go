// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
)

// An auditQuery is a search of the unified audit through Graph (auditLogQuery, v1.0).
type auditQuery struct {
	ID          string    `json:"id"`
	Name        string    `json:"displayName"`
	Start       time.Time `json:"filterStartDateTime"`
	End         time.Time `json:"filterEndDateTime"`
	RecordTypes []string  `json:"recordTypeFilters"`
	Keyword     string    `json:"keywordFilter"`
	Services    []string  `json:"serviceFilters"`
	Operations  []string  `json:"operationFilters"`
	People      []string  `json:"userPrincipalNameFilters"`
	Addresses   []string  `json:"ipAddressFilters"`
	Objects     []string  `json:"objectIdFilters"`
	Units       []string  `json:"administrativeUnitIdFilters"`
	Status      string    `json:"status"`

	asked time.Time
	fails bool
}

// An auditLogRecord is what a query found.
type auditLogRecord struct {
	Type           string          `json:"@odata.type"`
	ID             string          `json:"id"`
	Created        time.Time       `json:"createdDateTime"`
	RecordType     string          `json:"auditLogRecordType"`
	Operation      string          `json:"operation"`
	OrganizationID string          `json:"organizationId"`
	UserType       string          `json:"userType"`
	UserID         string          `json:"userId"`
	Service        string          `json:"service"`
	ObjectID       string          `json:"objectId"`
	Person         string          `json:"userPrincipalName"`
	ClientIP       string          `json:"clientIp"`
	Units          []string        `json:"administrativeUnits"`
	Data           json.RawMessage `json:"auditData"`
}

var errQuery = errors.New("the query must have filterStartDateTime and filterEndDateTime, in this order")

// query starts one.
func (a *UnifiedAudit) query(t *Tenant, body []byte) (auditQuery, error) {
	var q auditQuery
	if err := json.Unmarshal(body, &q); err != nil || q.Start.IsZero() || !q.Start.Before(q.End) {
		return q, errQuery
	}
	q.ID, q.asked = a.world.NewID(), a.world.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if q.fails = a.failing > 0; q.fails {
		a.failing--
	}
	a.tenant(t.ID).queries[q.ID] = &q
	return a.stated(q), nil
}

// FailQueries has the next queries end as failed.
func (a *UnifiedAudit) FailQueries(queries int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failing = queries
}

// ForgetQueries throws all queries of a tenant away, as the cloud does after 30 days.
func (a *UnifiedAudit) ForgetQueries(t *Tenant) {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.tenant(t.ID).queries)
}

// queried returns a query with the status that it has by now.
func (a *UnifiedAudit) queried(t *Tenant, id string) (auditQuery, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	q := a.tenant(t.ID).queries[id]
	if q == nil {
		return auditQuery{}, false
	}
	return a.stated(*q), true
}

// allQueries returns those of a tenant, the newest first.
func (a *UnifiedAudit) allQueries(t *Tenant) []auditQuery {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := []auditQuery{}
	for _, q := range a.tenant(t.ID).queries {
		all = append(all, a.stated(*q))
	}
	slices.SortFunc(all, func(x, y auditQuery) int { return cmp.Or(y.asked.Compare(x.asked), strings.Compare(x.ID, y.ID)) })
	return all
}

func (a *UnifiedAudit) stated(q auditQuery) auditQuery {
	switch passed := a.world.Now().Sub(q.asked); {
	case passed < a.config.QueryTime:
		q.Status = "notStarted"
	case passed < 2*a.config.QueryTime:
		q.Status = "running"
	case q.fails:
		q.Status = "failed"
	default:
		q.Status = "succeeded"
	}
	return q
}

// found returns what a query that has succeeded found, as it was when it was asked:
// the newest first.
func (a *UnifiedAudit) found(t *Tenant, q auditQuery) ([]auditLogRecord, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := []auditLogRecord{}
	for _, r := range a.tenant(t.ID).records {
		if r.available.After(q.asked) || r.created.Before(q.Start) || !r.created.Before(q.End) {
			continue
		}
		record, err := r.found(t, a.config.OwnAddress)
		if err != nil {
			return nil, err
		}
		if q.wants(&record) {
			all = append(all, record)
		}
	}
	slices.SortStableFunc(all, func(x, y auditLogRecord) int { return y.Created.Compare(x.Created) })
	return all, nil
}

func (r *auditRecord) found(t *Tenant, ownAddress bool) (auditLogRecord, error) {
	text, err := json.Marshal(r.json(t, ownAddress))
	if err != nil {
		return auditLogRecord{}, err
	}
	record := auditLogRecord{
		Type: "#microsoft.graph.security.auditLogRecord", ID: r.id, Created: r.created.UTC().Truncate(time.Second), OrganizationID: t.ID,
		Units: []string{""}, Data: text,
	}
	if r.mail != nil {
		var j mailJSON
		if err := json.Unmarshal(text, &j); err != nil {
			return auditLogRecord{}, err
		}
		record.RecordType, record.Operation, record.UserType, record.Service = "exchangeItemAggregated", j.Operation, "Application", "Exchange"
		record.UserID, record.Person, record.ObjectID, record.ClientIP = j.UserID, j.UserID, j.MailboxGUID, j.ClientIPAddress
		return record, nil
	}
	d := r.directory
	record.RecordType, record.Operation, record.UserType, record.Service = "azureActiveDirectory", d.operation, "Regular", "AzureActiveDirectory"
	record.UserID, record.Person, record.ObjectID, record.ClientIP = d.user, d.user, d.object, d.address
	return record, nil
}

// wants says whether a record passes all filters of a query.
func (q *auditQuery) wants(r *auditLogRecord) bool {
	for _, f := range []struct {
		values []string
		has    string
	}{{q.RecordTypes, r.RecordType}, {q.Services, r.Service}, {q.Operations, r.Operation}, {q.People, r.Person}, {q.Addresses, r.ClientIP}, {q.Objects, r.ObjectID}} {
		if len(f.values) > 0 && !slices.ContainsFunc(f.values, func(v string) bool { return strings.EqualFold(v, f.has) }) {
			return false
		}
	}
	return q.Keyword == "" || strings.Contains(strings.ToLower(string(r.Data)), strings.ToLower(q.Keyword))
}
