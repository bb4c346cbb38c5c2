// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"encoding/base64"
	"encoding/xml"
	"net/http"
	"strconv"
	"strings"
)

const (
	mostFound  = 1000 // items of one page (EWSFindCountLimit)
	mostSynced = 512  // changes of one answer
)

// operation does what the body of a request asks for.
func (e *EWS) operation(c *ewsCall) (operationAnswer, error) {
	switch b := &c.asked.Body; {
	case b.GetFolder != nil:
		return e.getFolder(c), nil
	case b.FindItem != nil:
		return e.findItem(c), nil
	case b.GetItem != nil:
		return e.getItem(c), nil
	case b.SyncFolderItems != nil:
		return e.syncFolderItems(c), nil
	case b.ResolveNames != nil:
		return e.resolveNames(c), nil
	}
	return operationAnswer{}, &ewsFault{status: http.StatusInternalServerError, code: "ErrorInvalidRequest", message: "The request is invalid: the emulator does not know this operation."}
}

func answerOf(operation string, messages ...responseMessage) operationAnswer {
	for i := range messages {
		messages[i].XMLName.Local = "m:" + operation + "ResponseMessage"
	}
	return operationAnswer{XMLName: xml.Name{Local: "m:" + operation + "Response"}, Messages: messagesNamespace, Types: typesNamespace, Answers: messages}
}

func succeeded() responseMessage { return responseMessage{Class: "Success", Code: "NoError"} }

func failedWith(code, text string) responseMessage {
	return responseMessage{Class: "Error", Text: text, Code: code, LinkKey: new(int)}
}

// inboxID names the only folder that mailboxes here have.
func inboxID(u *User) string {
	return base64.StdEncoding.EncodeToString([]byte("inbox/" + u.MailboxID))
}

// isInbox says whether a request names the inbox, and nothing else.
func (f folderIDs) isInbox(u *User) bool {
	for _, known := range f.Known {
		if !strings.EqualFold(known.ID, "inbox") {
			return false
		}
	}
	for _, given := range f.Given {
		if given.ID != inboxID(u) {
			return false
		}
	}
	return len(f.Known)+len(f.Given) > 0
}

func noFolder() responseMessage {
	return failedWith("ErrorFolderNotFound", "The specified folder could not be found in the store.")
}

func (e *EWS) getFolder(c *ewsCall) operationAnswer {
	if !c.asked.Body.GetFolder.Folders.isInbox(c.user) {
		return answerOf("GetFolder", noFolder())
	}
	folder := folderXML{ID: itemID{inboxID(c.user), "AQAAAA=="}, Class: "IPF.Note", Name: "Inbox"}
	for _, m := range c.user.Messages() {
		folder.Total++
		if !m.Read {
			folder.Unread++
		}
	}
	answer := succeeded()
	answer.Folders = &[]folderXML{folder}
	return answerOf("GetFolder", answer)
}

// findItem lists the inbox, the newest first. To find is not to open: no mail
// access is recorded.
func (e *EWS) findItem(c *ewsCall) operationAnswer {
	asked := c.asked.Body.FindItem
	if !asked.Folders.isInbox(c.user) {
		return answerOf("FindItem", noFolder())
	}
	most := asked.View.Most
	if most <= 0 || most > mostFound {
		most = mostFound
	}
	all := c.user.Messages()
	root := &rootFolder{Total: len(all)}
	for i := len(all) - 1 - max(asked.View.Offset, 0); i >= 0 && len(root.Items) < most; i-- {
		root.Items = append(root.Items, asked.Shape.message(c.user, &all[i], false))
	}
	root.Offset = min(len(all), max(asked.View.Offset, 0)+len(root.Items))
	root.IncludesLast = root.Offset >= len(all)
	answer := succeeded()
	answer.Root = root
	return answerOf("FindItem", answer)
}

func (e *EWS) getItem(c *ewsCall) operationAnswer {
	asked := c.asked.Body.GetItem
	byID := map[string]*Message{}
	all := c.user.Messages()
	for i := range all {
		byID[all[i].ID] = &all[i]
	}
	var answers []responseMessage
	var opened []Message
	for _, item := range asked.Items {
		m := byID[item.ID]
		if m == nil {
			answers = append(answers, failedWith("ErrorItemNotFound", "The specified object was not found in the store."))
			continue
		}
		answer := succeeded()
		answer.Items = &[]messageXML{asked.Shape.message(c.user, m, true)}
		answers = append(answers, answer)
		opened = append(opened, *m)
	}
	e.opened(c, false, opened)
	return answerOf("GetItem", answers...)
}

// syncFolderItems tells what came since a state. The state is how many messages
// the client has, which it is not to read.
func (e *EWS) syncFolderItems(c *ewsCall) operationAnswer {
	asked := c.asked.Body.SyncFolderItems
	if !asked.Folders.isInbox(c.user) {
		return answerOf("SyncFolderItems", noFolder())
	}
	all := c.user.Messages()
	have, ok := readSyncState(asked.SyncState)
	if !ok || have > len(all) {
		return answerOf("SyncFolderItems", failedWith("ErrorInvalidSyncStateData", "The synchronization state data is corrupt or otherwise invalid."))
	}
	most := asked.Most
	if most <= 0 || most > mostSynced {
		most = mostSynced
	}
	until := min(len(all), have+most)
	last := until == len(all)
	changes := &syncChanges{}
	for i := have; i < until; i++ {
		changes.Creates = append(changes.Creates, syncCreate{asked.Shape.message(c.user, &all[i], false)})
	}
	answer := succeeded()
	answer.SyncState, answer.IncludesLast, answer.Changes = syncState(until), &last, changes
	e.opened(c, true, nil)
	return answerOf("SyncFolderItems", answer)
}

func syncState(have int) string {
	return base64.StdEncoding.EncodeToString([]byte("sync/" + strconv.Itoa(have)))
}

func readSyncState(state string) (have int, ok bool) {
	if state == "" {
		return 0, true
	}
	raw, err := base64.StdEncoding.DecodeString(state)
	text, found := strings.CutPrefix(string(raw), "sync/")
	if err != nil || !found {
		return 0, false
	}
	have, err = strconv.Atoi(text)
	return have, err == nil && have >= 0
}

func (e *EWS) resolveNames(c *ewsCall) operationAnswer {
	entry := strings.ToLower(strings.TrimPrefix(strings.ToLower(c.asked.Body.ResolveNames.Entry), "smtp:"))
	set := &resolutionSet{IncludesLast: true}
	for _, u := range c.tenant.Users() {
		if entry != "" && (strings.HasPrefix(strings.ToLower(u.DisplayName), entry) || strings.HasPrefix(strings.ToLower(u.PrincipalName), entry)) && set.Total < 100 {
			set.Resolutions = append(set.Resolutions, mailboxXML{Name: u.DisplayName, Address: u.PrincipalName, RoutingType: "SMTP", MailboxType: "Mailbox"})
			set.Total++
		}
	}
	answer := succeeded()
	switch {
	case set.Total == 0:
		answer = failedWith("ErrorNameResolutionNoResults", "No results were found.")
	case set.Total > 1:
		answer = responseMessage{Class: "Warning", Code: "ErrorNameResolutionMultipleResults", Text: "Multiple results were found."}
	}
	if set.Total > 0 {
		answer.Resolution = set
	}
	return answerOf("ResolveNames", answer)
}

// message is a message in the shape that was asked for; the body comes with
// GetItem alone.
func (s itemShape) message(u *User, m *Message, whole bool) messageXML {
	x := messageXML{ID: itemID{m.ID, m.ChangeToken}}
	if strings.EqualFold(s.Base, "IdOnly") {
		return x
	}
	read, attachments := m.Read, m.HasAttachments
	x.Subject, x.Size, x.Received = m.Subject, m.SizeBytes, m.Received.UTC().Format("2006-01-02T15:04:05Z")
	x.From, x.Read, x.HasAttachments = &mailboxXML{Name: m.From, Address: m.From, RoutingType: "SMTP"}, &read, &attachments
	if strings.EqualFold(s.Base, "AllProperties") {
		x.Class, x.MessageID, x.ParentFolder = "IPM.Note", m.InternetMessageID, &itemID{inboxID(u), "AQAAAA=="}
	}
	if whole {
		x.Body = &bodyXML{"Text", m.Body}
	}
	return x
}
