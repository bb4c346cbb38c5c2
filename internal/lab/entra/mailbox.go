// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"strings"
	"sync"
	"time"
)

// A User is a person of a tenant, with a mailbox.
type User struct {
	ID, PrincipalName, DisplayName string
	MailboxID                      string // GUID, as logs of Exchange have it

	mu       sync.Mutex
	messages []Message // the oldest first, guarded by mu
	// sessionsFrom is when the sessions of before were ended; guarded by mu.
	sessionsFrom time.Time
}

// A Message is a mail in the inbox.
type Message struct {
	ID, InternetMessageID       string
	Subject, From, To, Preview  string
	Body                        string
	Received                    time.Time
	Read, HasAttachments        bool
	SizeBytes                   int
	ConversationID, ChangeToken string
}

// AddUser adds a person with an empty mailbox. A principal name without a domain
// gets the tenant's.
func (t *Tenant) AddUser(principalName, displayName string) *User {
	if !strings.Contains(principalName, "@") {
		principalName += "@" + t.Domain
	}
	u := &User{ID: t.world.NewID(), PrincipalName: principalName, DisplayName: cmp.Or(displayName, principalName), MailboxID: t.world.NewID()}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.users = append(t.users, u)
	return u
}

// User returns the person of an object id or principal name, or nil.
func (t *Tenant) User(name string) *User {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, u := range t.users {
		if strings.EqualFold(u.ID, name) || strings.EqualFold(u.PrincipalName, name) {
			return u
		}
	}
	return nil
}

// Users returns all people of the tenant.
func (t *Tenant) Users() []*User {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.users[:len(t.users):len(t.users)]
}

// Deliver puts a message into the inbox; what is left out is filled in.
func (t *Tenant) Deliver(u *User, m Message) {
	w := t.world
	m.ID = cmp.Or(m.ID, "AAMkAG"+w.guid().uti()+w.guid().uti()+"AAA=")
	m.InternetMessageID = cmp.Or(m.InternetMessageID, "<"+w.NewID()+"@"+t.Domain+">")
	m.ConversationID = cmp.Or(m.ConversationID, "AAQkAG"+w.guid().uti())
	m.ChangeToken = cmp.Or(m.ChangeToken, w.guid().uti()[:16])
	m.To = cmp.Or(m.To, u.PrincipalName)
	m.SizeBytes = cmp.Or(m.SizeBytes, len(m.Body)+2048)
	if m.Received.IsZero() {
		m.Received = w.Now()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.messages = append(u.messages, m)
}

// Messages returns what is in the inbox, the oldest first.
func (u *User) Messages() []Message {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.messages[:len(u.messages):len(u.messages)]
}
