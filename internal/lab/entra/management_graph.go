// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// readAudit may search the whole unified audit; there are permissions of single
// services, too, which are not had here.
var readAudit = []string{"AuditLogsQuery.Read.All"}

// addRoutes adds the audit log queries to Graph.
func (a *UnifiedAudit) addRoutes() {
	const path = "security/auditLog/queries"
	for _, r := range []route{
		{method: http.MethodPost, path: path, serve: a.postQuery},
		{method: http.MethodGet, path: path, serve: a.listQueries},
		{method: http.MethodGet, path: path + "/{}", serve: a.getQuery},
		{method: http.MethodGet, path: path + "/{}/records", serve: a.getRecords},
	} {
		r.roles, r.limit, r.cost = readAudit, &limitRead, 1
		a.world.addRoute(r)
	}
}

// queryJSON is a query with the context of an answer.
type queryJSON struct {
	Context string `json:"@odata.context"`
	auditQuery
}

func jsonReply(status int, body any) (reply, *graphError) {
	text, err := json.Marshal(body)
	if err != nil {
		return reply{}, &graphError{http.StatusInternalServerError, "InternalServerError", "The answer could not be written."}
	}
	return reply{status, text}, nil
}

func (a *UnifiedAudit) postQuery(g *graphRequest) (reply, *graphError) {
	q, err := a.query(g.tenant, g.body)
	if err != nil {
		return reply{}, &graphError{http.StatusBadRequest, "BadRequest", err.Error()}
	}
	return jsonReply(http.StatusCreated, queryJSON{g.base + "/$metadata#security/auditLog/queries/$entity", q})
}

func (a *UnifiedAudit) listQueries(g *graphRequest) (reply, *graphError) {
	return jsonReply(http.StatusOK, map[string]any{"@odata.context": g.base + "/$metadata#security/auditLog/queries", "value": a.allQueries(g.tenant)})
}

func (a *UnifiedAudit) getQuery(g *graphRequest) (reply, *graphError) {
	q, ok := a.queried(g.tenant, g.args[0])
	if !ok {
		return reply{}, errNotFound(g.args[0])
	}
	return jsonReply(http.StatusOK, queryJSON{g.base + "/$metadata#security/auditLog/queries/$entity", q})
}

// getRecords answers a page of what a query found, and nothing while it runs.
func (a *UnifiedAudit) getRecords(g *graphRequest) (reply, *graphError) {
	q, ok := a.queried(g.tenant, g.args[0])
	if !ok {
		return reply{}, errNotFound(g.args[0])
	}
	var all []auditLogRecord
	if q.Status == "succeeded" {
		var err error
		if all, err = a.found(g.tenant, q); err != nil {
			return reply{}, &graphError{http.StatusInternalServerError, "InternalServerError", "The records could not be read."}
		}
	}
	at, failed := g.index()
	if failed != nil {
		return reply{}, failed
	}
	top, failed := g.top(150, 1000)
	if failed != nil {
		return reply{}, failed
	}
	at = min(at, len(all))
	until := min(at+top, len(all))
	body := map[string]any{"@odata.context": g.base + "/$metadata#Collection(microsoft.graph.security.auditLogRecord)", "value": append([]auditLogRecord{}, all[at:until]...)}
	if until < len(all) {
		body["@odata.nextLink"] = g.link("$skiptoken", g.skipToken(strconv.Itoa(until)))
	}
	return jsonReply(http.StatusOK, body)
}
