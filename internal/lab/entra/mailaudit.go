// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"math/rand/v2"
	"sync"
	"time"
)

// A UnifiedAudit writes the unified audit log of every tenant: MailItemsAccessed for
// mail that applications read by Graph and by EWS, and the changes of the
// directory. It is read by the Management Activity API and by the audit log
// queries of Graph.
type UnifiedAudit struct {
	world  *World
	config UnifiedConfig

	mu      sync.Mutex
	tenants map[string]*tenantAudit // by id; guarded by mu, as what they hold
	failing int                     // queries that are still to fail; guarded by mu
}

type tenantAudit struct {
	records       []*auditRecord
	open          map[bindKey]*auditRecord  // binds that more may be added to
	seen          map[seenKey]time.Time     // what was recorded in the last hour
	mailboxes     map[string]*mailboxBudget // by id
	subscriptions map[string]*subscription
	queries       map[string]*auditQuery
	minute        time.Time // of the requests that were counted
	requests      int
}

// An auditRecord is a record of the unified audit. What is the same in all of a
// kind is added when it is read.
type auditRecord struct {
	id        string
	created   time.Time
	available time.Time
	again     time.Time // when it comes a second time; zero: never
	mail      *mailAccess
	directory *directoryRecord
	noContext bool
}

// A mailAccess is access of an application to one mailbox.
type mailAccess struct {
	tenant, mailbox, mailboxID string
	sync                       bool // a folder was synchronised; otherwise messages were opened
	graph                      bool // by Graph; otherwise by EWS
	app, principal, uti        string
	session, address, agent    string
	issued                     time.Time // of the token
	at                         time.Time
	folders                    []folderAccess
	throttled                  bool
}

type folderAccess struct {
	id, path string
	items    []string // ids of messages (RFC 5322)
}

// What is added to one record, and what is recorded once in an hour: access that
// differs in none of these (Microsoft Purview, "Use MailItemsAccessed to
// investigate compromised accounts").
type bindKey struct {
	mailbox, app, uti, address string
	graph                      bool
}

type seenKey struct {
	bindKey
	sync         bool
	folder, item string
}

// A mailboxBudget counts the binds of a mailbox: above 1,000 in 24 hours nothing
// more is recorded for 24 hours.
type mailboxBudget struct {
	since, silent time.Time
	binds         int
}

const (
	bindWindow   = 2 * time.Minute
	seenFor      = time.Hour
	bindsPerDay  = 1000
	rememberMost = 50_000 // of seen items in a tenant
)

// NewUnifiedAudit returns an audit log that notes from now on what happens in the
// world, and adds its queries to Graph. It must come before Start; the caller mounts its
// ManagementHandler as ServiceManagement.
func (w *World) NewUnifiedAudit(c UnifiedConfig) *UnifiedAudit {
	a := &UnifiedAudit{world: w, config: c.withDefaults(), tenants: map[string]*tenantAudit{}}
	w.OnAudit(func(t *Tenant, audit Audit) {
		if err := a.directory(t, audit); err != nil {
			panic("entra: " + err.Error()) // the emulator's own record cannot be read: nothing to go on with
		}
	})
	w.OnCall(a.call)
	a.addRoutes()
	return a
}

func (a *UnifiedAudit) tenant(id string) *tenantAudit {
	t := a.tenants[id]
	if t == nil {
		t = &tenantAudit{
			open: map[bindKey]*auditRecord{}, seen: map[seenKey]time.Time{}, mailboxes: map[string]*mailboxBudget{},
			subscriptions: map[string]*subscription{}, queries: map[string]*auditQuery{},
		}
		a.tenants[id] = t
	}
	return t
}

// mail records access to mail.
func (a *UnifiedAudit) mail(m mailAccess) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tenant(m.tenant)
	if !t.firstInAnHour(&m) || !t.allowed(&m) {
		return
	}
	key := m.key()
	if r := t.open[key]; r != nil && !m.sync && m.at.Before(r.created.Add(bindWindow)) {
		r.mail.add(m.folders)
		r.mail.throttled = r.mail.throttled || m.throttled
		return
	}
	r := a.record(m.at, !m.sync)
	r.mail = &m
	if !m.sync {
		for k, old := range t.open {
			if !m.at.Before(old.created.Add(bindWindow)) {
				delete(t.open, k)
			}
		}
		t.open[key] = r
	}
	t.records = append(t.records, r)
}

// record begins a record of an event, and draws what becomes of it.
func (a *UnifiedAudit) record(at time.Time, aggregated bool) *auditRecord {
	r := &auditRecord{id: a.world.NewID(), created: at, available: at}
	if aggregated {
		r.available = at.Add(bindWindow)
	}
	a.world.draw(func(random *rand.Rand) {
		r.available = r.available.Add(a.config.Latency(random))
		if random.Float64() < a.config.Duplicates {
			r.again = r.available.Add(a.config.BlobEvery * time.Duration(1+random.IntN(6)))
		}
		r.noContext = aggregated && random.Float64() < a.config.NoContext
	})
	return r
}

func (m *mailAccess) key() bindKey {
	return bindKey{mailbox: m.mailboxID, app: m.app, uti: m.uti, address: m.address, graph: m.graph}
}

// firstInAnHour takes out what was recorded already, and says whether anything is left.
func (t *tenantAudit) firstInAnHour(m *mailAccess) bool {
	if len(t.seen) > rememberMost {
		for k, at := range t.seen {
			if m.at.Sub(at) >= seenFor {
				delete(t.seen, k)
			}
		}
	}
	fresh := func(folder, item string) bool {
		key := seenKey{bindKey: m.key(), sync: m.sync, folder: folder, item: item}
		if at, ok := t.seen[key]; ok && m.at.Sub(at) < seenFor {
			return false
		}
		t.seen[key] = m.at
		return true
	}
	var left []folderAccess
	for _, f := range m.folders {
		if m.sync {
			if fresh(f.id, "") {
				left = append(left, f)
			}
			continue
		}
		var items []string
		for _, item := range f.items {
			if fresh(f.id, item) {
				items = append(items, item)
			}
		}
		if len(items) > 0 {
			left = append(left, folderAccess{f.id, f.path, items})
		}
	}
	m.folders = left
	return len(left) > 0
}

// allowed counts the binds of a mailbox and says whether they are recorded. The
// last ones before silence are marked as throttled.
func (t *tenantAudit) allowed(m *mailAccess) bool {
	if m.sync {
		return true
	}
	b := t.mailboxes[m.mailboxID]
	if b == nil {
		b = &mailboxBudget{since: m.at}
		t.mailboxes[m.mailboxID] = b
	}
	if m.at.Before(b.silent) {
		return false
	}
	if m.at.Sub(b.since) >= 24*time.Hour {
		b.since, b.binds = m.at, 0
	}
	for _, f := range m.folders {
		b.binds += len(f.items)
	}
	if b.binds > bindsPerDay {
		m.throttled = true
		b.silent, b.since, b.binds = m.at.Add(24*time.Hour), m.at.Add(24*time.Hour), 0
	}
	return true
}

// add takes the items of further access into the record.
func (m *mailAccess) add(folders []folderAccess) {
	for _, f := range folders {
		found := false
		for i := range m.folders {
			if m.folders[i].id == f.id {
				m.folders[i].items = append(m.folders[i].items, f.items...)
				found = true
			}
		}
		if !found {
			m.folders = append(m.folders, f)
		}
	}
}

// count is how many operations a record stands for.
func (m *mailAccess) count() (n int) {
	if m.sync {
		return 1
	}
	for _, f := range m.folders {
		n += len(f.items)
	}
	return n
}

// contentType is the feed that a record is in.
func (r *auditRecord) contentType() string {
	if r.mail != nil {
		return "Audit.Exchange"
	}
	return "Audit.AzureActiveDirectory"
}
