// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"net/http"
	"slices"
	"strconv"
)

func (g *graphRequest) organization() (reply, *graphError) {
	l, t := g.list("organization"), g.tenant
	t.mu.Lock()
	p1 := !t.noP1
	t.mu.Unlock()
	l.selected = g.selected()
	l.open()
	l.text("id", t.ID)
	l.text("displayName", t.Name)
	l.time("createdDateTime", t.Created)
	l.raw("verifiedDomains", `[{"name":`+textOf(t.Domain)+`,"isDefault":true,"isInitial":false,"type":"Managed"}]`)
	plans := `[]`
	if p1 {
		plans = `[{"capabilityStatus":"Enabled","service":"AADPremiumService","servicePlanId":"41781fb2-bc02-4b7c-bd55-b576c07bb09d"}]`
	}
	l.raw("assignedPlans", plans)
	l.close()
	return l.end("", "")
}

func (u *User) members(j *jsonWriter) {
	j.text("id", u.ID)
	j.text("displayName", u.DisplayName)
	j.text("userPrincipalName", u.PrincipalName)
	j.text("mail", u.PrincipalName)
	j.bool("accountEnabled", true)
}

func (g *graphRequest) listUsers() (reply, *graphError) {
	at, err := g.index()
	if err != nil {
		return reply{}, err
	}
	top, err := g.top(100, 999)
	if err != nil {
		return reply{}, err
	}
	users := g.tenant.Users()
	l := g.list("users")
	l.selected = g.selected()
	at = min(at, len(users))
	until := min(at+top, len(users))
	for _, u := range users[at:until] {
		l.open()
		u.members(&l.jsonWriter)
		l.close()
	}
	if until < len(users) {
		return l.end("@odata.nextLink", g.link("$skiptoken", g.skipToken(strconv.Itoa(until))))
	}
	return l.end("", "")
}

// user finds the person that the path names.
func (g *graphRequest) user() (*User, *graphError) {
	if u := g.tenant.User(g.args[0]); u != nil {
		return u, nil
	}
	return nil, errNotFound(g.args[0])
}

func (g *graphRequest) getUser() (reply, *graphError) {
	u, err := g.user()
	if err != nil {
		return reply{}, err
	}
	j := g.one("users")
	j.selected = g.selected()
	u.members(j)
	j.close()
	return reply{http.StatusOK, j.b}, nil
}

func (m *Message) members(j *jsonWriter) {
	j.text("@odata.etag", `W/"`+m.ChangeToken+`"`)
	j.text("id", m.ID)
	j.text("changeKey", m.ChangeToken)
	j.time("receivedDateTime", m.Received)
	j.bool("hasAttachments", m.HasAttachments)
	j.text("internetMessageId", m.InternetMessageID)
	j.text("subject", m.Subject)
	j.text("bodyPreview", m.Preview)
	j.text("conversationId", m.ConversationID)
	j.bool("isRead", m.Read)
	if j.wants("body") {
		j.name("body")
		j.open()
		j.text("contentType", "text")
		j.text("content", m.Body)
		j.close()
	}
	if j.wants("from") {
		j.name("from")
		renderAddress(j, m.From)
	}
	if j.wants("toRecipients") {
		j.name("toRecipients")
		j.openList()
		renderAddress(j, m.To)
		j.closeList()
	}
}

func renderAddress(j *jsonWriter, address string) {
	j.open()
	j.name("emailAddress")
	j.open()
	j.text("name", address)
	j.text("address", address)
	j.close()
	j.close()
}

// listMessages answers a page of a mailbox, the newest first, ten at a time if nothing else is
// said.
func (g *graphRequest) listMessages() (reply, *graphError) {
	u, err := g.user()
	if err != nil {
		return reply{}, err
	}
	top, err := g.top(10, 1000)
	if err != nil {
		return reply{}, err
	}
	skip := 0
	if text := g.query.Get("$skip"); text != "" {
		n, failed := strconv.Atoi(text)
		if failed != nil || n < 0 {
			return reply{}, errBadRequest("Invalid value for $skip.")
		}
		skip = n
	}
	all := slices.Clone(u.Messages())
	slices.Reverse(all)
	l := g.list("users('" + u.ID + "')/messages")
	l.selected = g.selected()
	if l.selected != nil {
		l.selected = append(l.selected, "id", "@odata.etag")
	}
	skip = min(skip, len(all))
	until := min(skip+top, len(all))
	g.mailbox = u
	for i := range all[skip:until] {
		g.opened = append(g.opened, all[skip+i].InternetMessageID)
		l.open()
		all[skip+i].members(&l.jsonWriter)
		l.close()
	}
	if until < len(all) {
		return l.end("@odata.nextLink", g.link("$skip", strconv.Itoa(until)))
	}
	return l.end("", "")
}

func (g *graphRequest) getMessage() (reply, *graphError) {
	u, err := g.user()
	if err != nil {
		return reply{}, err
	}
	for _, m := range u.Messages() {
		if m.ID == g.args[1] {
			g.mailbox, g.opened = u, []string{m.InternetMessageID}
			j := g.one("users('" + u.ID + "')/messages")
			j.selected = g.selected()
			m.members(j)
			j.close()
			return reply{http.StatusOK, j.b}, nil
		}
	}
	return reply{}, &graphError{http.StatusNotFound, "ErrorItemNotFound", "The specified object was not found in the store."}
}
