// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"strconv"
	"strings"
	"time"
)

// The fields that every record has: the common schema of the Management Activity API.
type commonJSON struct {
	CreationTime   string
	ID             string `json:"Id"`
	Operation      string
	OrganizationID string `json:"OrganizationId"`
	RecordType     int
	ResultStatus   string
	UserKey        string
	UserType       int
	Version        int
	Workload       string
	UserID         string `json:"UserId"`
}

// common begins the record of an event in a tenant.
func (r *auditRecord) common(t *Tenant, operation, workload string, recordType int) commonJSON {
	return commonJSON{
		CreationTime: unifiedTime(r.created), ID: r.id, Operation: operation, OrganizationID: t.ID, RecordType: recordType,
		ResultStatus: "Succeeded", Version: 1, Workload: workload,
	}
}

// The fields of a record of mail that was accessed: beside the common ones those of the
// Exchange mailbox schema.
type mailJSON struct {
	commonJSON
	AppAccessContext    *contextJSON `json:",omitempty"`
	AppID               string       `json:"AppId"`
	ClientAppID         string       `json:"ClientAppId"`
	ClientIPAddress     string
	ClientInfoString    string
	ExternalAccess      bool
	InternalLogonType   int
	LogonType           int
	MailboxGUID         string `json:"MailboxGuid"`
	MailboxOwnerUPN     string
	OperationProperties []nameValue
	OrganizationName    string
	OriginatingServer   string
	SessionID           string       `json:"SessionId,omitempty"`
	TokenObjectID       string       `json:"TokenObjectId,omitempty"`
	TokenTenantID       string       `json:"TokenTenantId,omitempty"`
	Item                *itemJSON    `json:",omitempty"` // of a folder that was synchronised
	Folders             []folderJSON `json:",omitempty"`
	OperationCount      int
}

// A contextJSON says by which token an event came about.
type contextJSON struct {
	AADSessionID  string `json:"AADSessionId,omitempty"`
	APIID         string `json:"APIId"`
	ClientAppID   string `json:"ClientAppId"`
	CorrelationID string `json:"CorrelationId,omitempty"`
	IssuedAtTime  string
	UniqueTokenID string `json:"UniqueTokenId"`
}

type nameValue struct {
	Name  string
	Value string
}

type itemJSON struct {
	ID           string `json:"Id"`
	ParentFolder struct {
		ID   string `json:"Id"`
		Name string
		Path string
	}
}

type folderJSON struct {
	FolderItems []messageJSON `json:",omitempty"`
	ID          string        `json:"Id"`
	Path        string
}

type messageJSON struct {
	InternetMessageID string `json:"InternetMessageId"`
}

// unifiedTime is how the unified audit writes a time: UTC, in seconds, without saying so.
func unifiedTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05") }

// Record types, user types and logon types of the schema.
const (
	recordDirectory      = 8
	recordItemAggregated = 50
	userApplication      = 5
	userPrincipal        = 6
	logonOwner           = 0
	logonDelegated       = 2
)

// json is the record as it is read.
func (m *mailAccess) json(r *auditRecord, t *Tenant, ownAddress bool) mailJSON {
	j := mailJSON{
		commonJSON: r.common(t, "MailItemsAccessed", "Exchange", recordItemAggregated), MailboxGUID: m.mailboxID, MailboxOwnerUPN: m.mailbox,
		OrganizationName: t.Domain, OriginatingServer: "LAB0MB0001 (15.20.4200.000)\r\n",
		SessionID: m.session, TokenObjectID: m.principal, TokenTenantID: t.ID, OperationCount: m.count(),
		ClientIPAddress: m.address,
	}
	j.UserType, j.UserKey, j.UserID = userApplication, m.principal, m.mailbox
	if m.graph {
		// Graph stands between: real records name it as AppId, the caller as
		// ClientAppId, and hold one of Graph's own addresses.
		j.AppID, j.ClientAppID, j.ClientInfoString, j.LogonType = Graph, m.app, "Client=REST;;", logonOwner
		if !ownAddress {
			j.ClientIPAddress = microsoftAddress(r.id)
		}
	} else {
		j.AppID, j.LogonType = m.app, logonDelegated
		j.ClientInfoString = "Client=WebServices;ExchangeWebServices/" + strings.ReplaceAll(m.agent, ";", ",") + "[AppId=" + m.app + "];"
	}
	if !r.noContext {
		j.AppAccessContext = &contextJSON{
			APIID: j.AppID, ClientAppID: m.app, IssuedAtTime: unifiedTime(m.issued), UniqueTokenID: m.uti,
		}
		if !m.graph {
			j.AppAccessContext.APIID = Exchange
		}
	}
	kind, throttled := "Bind", "False"
	if m.sync {
		kind = "Sync"
		j.Item = &itemJSON{}
		f := &j.Item.ParentFolder
		j.Item.ID, f.ID, f.Name, f.Path = m.folders[0].id, m.folders[0].id, strings.TrimPrefix(m.folders[0].path, `\`), m.folders[0].path
	} else {
		for _, f := range m.folders {
			folder := folderJSON{ID: f.id, Path: f.path}
			for _, item := range f.items {
				folder.FolderItems = append(folder.FolderItems, messageJSON{item})
			}
			j.Folders = append(j.Folders, folder)
		}
	}
	if m.throttled {
		throttled = "True"
	}
	j.OperationProperties = []nameValue{{"MailAccessType", kind}, {"IsThrottled", throttled}}
	return j
}

// microsoftAddress is one of a network of Microsoft's, in which real records of
// Graph have theirs. A record keeps it.
func microsoftAddress(id string) string {
	g, _ := parseGUID(id)
	return "20.190.160." + strconv.Itoa(1+int(g[15])%254)
}
