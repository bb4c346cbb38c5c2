// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// deltaLife is how long a delta token of a directory object can be used.
const deltaLife = 7 * 24 * time.Hour

// A deltaToken says up to which change a client has been told.
type deltaToken struct {
	given      int64 // milliseconds
	generation int   // of the tenant: see Tenant.ForgetDelta
	changes    int   // of the tenant's list
}

// deltaLink is where a client goes on next time. The tenant must be locked.
func (g *graphRequest) deltaLink(changes int) string {
	token := fmt.Sprintf("%d %d %d", g.now.UnixMilli(), g.tenant.generation, changes)
	return g.link("$deltatoken", base64.RawURLEncoding.EncodeToString([]byte(token)), "$skiptoken")
}

func parseDeltaToken(text string) (t deltaToken, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return t, false
	}
	n, err := fmt.Sscanf(string(raw), "%d %d %d", &t.given, &t.generation, &t.changes)
	return t, err == nil && n == 3 && t.changes >= 0
}

// delta answers what changed in a collection. Without a token it is all that there is,
// page by page; "latest" begins with now. Tokens that are too old are refused, and those
// from before a Tenant.ForgetDelta are answered with where to begin anew.
func (g *graphRequest) delta() (reply, *graphError) {
	token, given := g.query["$deltatoken"]
	switch {
	case !given || token[0] == "":
		return g.everything()
	case token[0] == "latest":
		g.tenant.mu.Lock()
		defer g.tenant.mu.Unlock()
		return g.list(g.path[0]+"/$delta").end("@odata.deltaLink", g.deltaLink(g.tenant.visibleChanges(g.now)))
	}
	from, ok := parseDeltaToken(token[0])
	if !ok {
		return reply{}, errBadRequest("Badly formed token.")
	}
	if g.now.Sub(time.UnixMilli(from.given)) > deltaLife {
		return reply{}, &graphError{http.StatusBadRequest, "syncStateNotFound", "The sync state generation is not found; the delta token has expired. A full synchronization is needed."}
	}
	g.tenant.mu.Lock()
	defer g.tenant.mu.Unlock()
	if from.generation != g.tenant.generation {
		g.out.Set("Location", g.link("$deltatoken", "", "$skiptoken"))
		return reply{}, &graphError{http.StatusGone, "resyncRequired", "Resynchronization is required. Begin anew at the address in Location."}
	}
	return g.since(from.changes)
}

// visibleChanges is how many changes delta queries know, in order and without a
// gap.
func (t *Tenant) visibleChanges(now time.Time) int {
	n := 0
	for n < len(t.changes) && !t.changes[n].visible.After(now) {
		n++
	}
	return n
}

// everything answers a page of the whole collection, and on the last the token.
func (g *graphRequest) everything() (reply, *graphError) {
	cursor, err := g.cursor()
	if err != nil {
		return reply{}, err
	}
	t, at, upTo := g.tenant, 0, 0
	t.mu.Lock()
	defer t.mu.Unlock()
	if cursor == "" {
		upTo = t.visibleChanges(g.now)
	} else {
		position, changes, _ := strings.Cut(cursor, ",")
		var errAt, errUpTo error
		at, errAt = strconv.Atoi(position)
		upTo, errUpTo = strconv.Atoi(changes)
		if errAt != nil || errUpTo != nil || at < 0 {
			return reply{}, errBadRequest("The specified page token value is not valid.")
		}
	}
	l, n := g.list(g.path[0]+"/$delta"), 0
	l.selected = g.withID()
	if g.path[0] == "oauth2PermissionGrants" {
		for i := range t.grants {
			l.open()
			t.grants[i].members(&l.jsonWriter)
			l.close()
		}
		return l.end("@odata.deltaLink", g.deltaLink(upTo))
	}
	for ; at < len(t.order); at++ {
		o := t.order[at]
		if o.Kind != g.path[0] || !o.exists(viewGraph) {
			continue
		}
		if n == 100 {
			return l.end("@odata.nextLink", g.link("$skiptoken", g.skipToken(strconv.Itoa(at)+","+strconv.Itoa(upTo))))
		}
		n++
		l.open()
		o.render(&l.jsonWriter, o.at(viewGraph), false)
		l.close()
	}
	return l.end("@odata.deltaLink", g.deltaLink(upTo))
}

// withID is what $select names; the id is always given.
func (g *graphRequest) withID() []string {
	if names := g.selected(); names != nil {
		return append(names, "id")
	}
	return nil
}

// since answers what changed after the first so many changes, and the replays and duplicates that
// the faults ask for. The tenant must be locked.
func (g *graphRequest) since(from int) (reply, *graphError) {
	t, f := g.tenant, g.world.faults.Load()
	upTo := t.visibleChanges(g.now)
	l := g.list(g.path[0] + "/$delta")
	l.selected = g.withID()
	var told []string
	for _, c := range t.changes[max(0, min(from, upTo)-f.DeltaReplays):upTo] {
		if c.collection != g.path[0] || slices.Contains(told, c.id) {
			continue
		}
		told = append(told, c.id)
		g.renderChange(l, c.id)
		if f.DeltaDuplicates {
			g.renderChange(l, c.id)
		}
	}
	return l.end("@odata.deltaLink", g.deltaLink(upTo))
}

// renderChange writes an object as it is now, or that it is gone.
func (g *graphRequest) renderChange(l *listing, id string) {
	l.open()
	defer l.close()
	if o := g.tenant.objects[id]; o != nil {
		if o.exists(viewGraph) {
			o.render(&l.jsonWriter, o.at(viewGraph), false)
			return
		}
		l.renderGone(id, "changed") // it is with the deleted items
		return
	}
	for i := range g.tenant.grants {
		if g.tenant.grants[i].ID == id {
			g.tenant.grants[i].members(&l.jsonWriter)
			return
		}
	}
	l.renderGone(id, "deleted")
}

func (l *listing) renderGone(id, reason string) {
	l.text("id", id)
	l.name("@removed")
	l.b = append(l.b, `{"reason":"`+reason+`"}`...)
}
