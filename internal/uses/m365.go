// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"errors"
	"net"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick"
)

// unifiedAuditFormat is the audit log of Microsoft 365 (Management Activity API,
// common schema): records of mail operations by applications. An aggregated
// record counts what it stands for.
func unifiedAuditFormat() Format {
	return Format{
		Name: "unified-audit", layout: byElement,
		is: func(record string) bool {
			return hasMembers(record, "CreationTime", "Operation", "Workload") || hasMembers(record, "AuditData", "Operations")
		},
		reader: stateless(readUnifiedAudit),
	}
}

type unifiedAudit struct {
	u                                                    tallystick.Use
	time, operation, workload, app, clientApp            string
	token, correlation, mailbox, session, count, address string
	clientRequest, status, auditData, organisation       string
}

func readUnifiedAudit(record string, sink Sink) error {
	var a unifiedAudit
	c := cursor{text: record}
	if err := c.object(func(key string) error { return a.member(&c, key) }); err != nil {
		return err
	}
	if err := c.end(); err != nil {
		return err
	}
	if a.auditData != "" && a.time == "" { // a row of Search-UnifiedAuditLog holds the record as text
		return readUnifiedAudit(a.auditData, sink)
	}
	if a.workload == "AzureActiveDirectory" && a.u.ID != "" && wantsChanges(sink) {
		return readUnifiedDirectory(record, sink)
	}
	return a.emit(sink)
}

func (a *unifiedAudit) member(c *cursor, key string) error {
	switch key {
	case "Id":
		return c.into(&a.u.ID)
	case "CreationTime":
		return c.into(&a.time)
	case "Operation":
		return c.into(&a.operation)
	case "Workload":
		return c.into(&a.workload)
	case "AppId":
		return c.into(&a.app)
	case "ClientAppId":
		return c.into(&a.clientApp)
	case "OrganizationId":
		return c.into(&a.organisation)
	case "ClientIPAddress", "ClientIP":
		return c.into(&a.address)
	case "ClientRequestId":
		return c.into(&a.clientRequest)
	case "ClientInfoString":
		return c.into(&a.u.Agent)
	case "MailboxOwnerUPN":
		return c.into(&a.mailbox)
	case "OperationCount":
		return c.into(&a.count)
	case "SessionId":
		return c.into(&a.session)
	case "AuditData":
		return c.into(&a.auditData)
	case "ResultStatus":
		return c.into(&a.status)
	case "AppAccessContext":
		if c.space() == '{' {
			return c.object(func(name string) error { return a.contextMember(c, name) })
		}
	}
	return c.skip()
}

func (a *unifiedAudit) contextMember(c *cursor, name string) error {
	switch name {
	case "UniqueTokenId":
		return c.into(&a.token)
	case "CorrelationId":
		return c.into(&a.correlation)
	case "ClientAppId":
		if a.clientApp == "" {
			return c.into(&a.clientApp)
		}
	}
	return c.skip()
}

func (a *unifiedAudit) emit(sink Sink) error {
	if !strings.HasSuffix(a.time, "Z") && len(a.time) == 19 {
		a.time += "Z" // the schema has UTC, and writes no zone
	}
	at, err := readTime(a.time)
	if err != nil {
		return err
	}
	if a.u.ID == "" {
		return errors.New("expected the Id of the record")
	}
	app := a.clientApp
	if isNone(app) {
		app = a.app
	}
	if a.workload != "Exchange" || isNone(app) && a.token == "" {
		return nil // not mail, or nobody's application
	}
	u := &a.u
	u.Source, u.Side, u.Level, u.Outcome = "unified-audit", tallystick.SideRelying, tallystick.LevelCall, tallystick.OutcomeSuccess
	if strings.EqualFold(a.status, "Failed") {
		u.Outcome = tallystick.OutcomeRefused
	}
	u.Time, u.Until, u.Count = at, at, 1
	if n, err := strconv.ParseInt(a.count, 10, 64); err == nil && n > 1 && n < maxCount {
		u.Count = n
	}
	u.Address = bareAddress(a.address)
	u.Operation, u.Resource = a.operation, a.mailbox
	u.IDs.UTI, u.IDs.Correlation, u.IDs.Session = a.token, a.correlation, a.session
	if u.IDs.Correlation == "" {
		u.IDs.Correlation = a.clientRequest
	}
	u.Credential = []string{"account:entra-app/" + strings.ToLower(app)}
	u.RelyingParty = "entra:" + a.organisation + "/00000002-0000-0ff1-ce00-000000000000" // Exchange Online's own id
	sink.Use(u)
	return nil
}

// bareAddress takes the port, brackets and "ipv4:" from an address.
func bareAddress(address string) string {
	address = strings.TrimPrefix(strings.TrimPrefix(address, "ipv4:"), "ipv6:")
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return strings.TrimPrefix(strings.Trim(address, "[]"), "::ffff:")
}

// splitAddress returns the address and the port of "host:port".
func splitAddress(address string) (host string, port int) {
	address = strings.TrimPrefix(strings.TrimPrefix(address, "ipv4:"), "ipv6:")
	i := strings.LastIndexByte(address, ':')
	if i < 0 {
		return address, 0
	}
	port, err := strconv.Atoi(address[i+1:])
	if err != nil {
		return address, 0
	}
	return strings.Trim(address[:i], "[]"), port
}
