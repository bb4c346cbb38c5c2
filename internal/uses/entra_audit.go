// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/tallystick/tallystick"
)

// The directory audit of Entra ID (Microsoft Graph, resource type directoryAudit)
// in the three shapes in which people have it. It holds changes and no uses.

func entraAuditFormat() Format {
	return Format{
		Name: "entra-audit", layout: byElement,
		is: func(record string) bool {
			return hasMembers(record, "activityDateTime", "activityDisplayName", "targetResources")
		},
		reader: stateless(readEntraAudit),
	}
}

func entraAuditDiagnosticFormat() Format {
	return Format{
		Name: "entra-audit-diagnostic", layout: byElement,
		is: func(record string) bool {
			return hasMembers(record, "category", "properties") && strings.Contains(record, `"AuditLogs"`) && strings.Contains(record, `"targetResources"`)
		},
		reader: stateless(readEntraAudit),
	}
}

func entraAuditLogAnalyticsFormat() Format {
	return Format{
		Name: "entra-audit-la", layout: byElement,
		is: func(record string) bool {
			return hasMembers(record, "OperationName", "TargetResources") || hasMembers(record, "ActivityDisplayName", "TargetResources")
		},
		reader: stateless(readEntraAudit),
	}
}

// An auditRecord has the members of all three shapes: encoding/json takes them
// in any case. What Log Analytics calls dynamic is an object or its text.
type auditRecord struct {
	ID                string          `json:"id"`
	ActivityDateTime  flexText        `json:"activityDateTime"`
	TimeGenerated     flexText        `json:"timeGenerated"`
	Time              flexText        `json:"time"`
	Activity          flexText        `json:"activityDisplayName"`
	OperationName     flexText        `json:"operationName"`
	CorrelationID     flexText        `json:"correlationId"`
	Result            flexText        `json:"result"`
	ResultReason      flexText        `json:"resultReason"`
	TenantID          flexText        `json:"tenantId"`
	AADTenantID       flexText        `json:"aadTenantId"`
	CallerIP          flexText        `json:"callerIpAddress"`
	InitiatedBy       json.RawMessage `json:"initiatedBy"`
	TargetResources   json.RawMessage `json:"targetResources"`
	AdditionalDetails json.RawMessage `json:"additionalDetails"`
	Properties        *auditRecord    `json:"properties"`
}

// A flexText is a text, or the JSON of what stands in its place.
type flexText string

// UnmarshalJSON never fails on JSON that is whole.
func (f *flexText) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = string(raw)
	}
	if text == "null" {
		text = ""
	}
	*f = flexText(text)
	return nil
}

type auditInitiator struct {
	User *struct {
		ID, DisplayName, UserPrincipalName, IPAddress flexText
	}
	App *struct {
		AppID, DisplayName, ServicePrincipalID, ServicePrincipalName flexText
	}
}

type auditTarget struct {
	ID, DisplayName, Type, UserPrincipalName flexText
	ModifiedProperties                       []auditProperty
}

type auditProperty struct {
	DisplayName, OldValue, NewValue flexText
}

// dynamic decodes an object, or the text of one.
func dynamic(raw json.RawMessage, into any) error {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		raw = json.RawMessage(text)
	}
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	return json.Unmarshal(raw, into)
}

var errAudit = errors.New("expected a directory audit record, with initiatedBy, targetResources and additionalDetails as Microsoft Graph describes them")

func readEntraAudit(record string, sink Sink) error {
	if err := shallow(record); err != nil {
		return err
	}
	var r auditRecord
	if err := json.Unmarshal([]byte(record), &r); err != nil {
		return errAudit
	}
	envelope := r
	if r.Properties != nil {
		r = *r.Properties
	}
	e := entraEvent{source: "entra-audit", id: r.ID, tenant: firstText(envelope.AADTenantID, envelope.TenantID)}
	at, err := readTime(firstText(r.ActivityDateTime, r.TimeGenerated, envelope.Time, envelope.TimeGenerated))
	if err != nil {
		return err
	}
	if e.id == "" {
		return errors.New("expected the id of the record")
	}
	var by auditInitiator
	var details []struct{ Key, Value flexText }
	if errors.Join(dynamic(r.InitiatedBy, &by), dynamic(r.TargetResources, &e.targets), dynamic(r.AdditionalDetails, &details)) != nil {
		return errAudit
	}
	e.time, e.address = at, string(envelope.CallerIP)
	e.operation, e.correlation = firstText(r.Activity, r.OperationName, envelope.OperationName), firstText(r.CorrelationID, envelope.CorrelationID)
	result := firstText(r.Result, envelope.Result)
	e.failed, e.detail = result != "" && !strings.EqualFold(result, "success"), string(r.ResultReason)
	for _, d := range details {
		switch strings.ToLower(string(d.Key)) {
		case "user-agent":
			e.agent = string(d.Value)
		case "appid":
			e.appID = string(d.Value)
		}
	}
	e.by(by)
	e.emit(sink)
	return nil
}

// shallow refuses JSON that is nested deeper than any log of these.
func shallow(record string) error {
	c := cursor{text: record}
	if err := c.skip(); err != nil {
		return err
	}
	return c.end()
}

func firstText(texts ...flexText) string {
	for _, text := range texts {
		if text != "" {
			return string(text)
		}
	}
	return ""
}

// by says who did it.
func (e *entraEvent) by(i auditInitiator) {
	switch {
	case i.App != nil && (i.App.AppID != "" || i.App.ServicePrincipalID != "" || i.App.DisplayName != ""):
		e.actorKind, e.actorObject = "application", string(i.App.ServicePrincipalID)
		switch {
		case i.App.AppID != "":
			e.actor = entraAccount(string(i.App.AppID))
		case i.App.ServicePrincipalID != "":
			e.actor = "account:entra-sp/" + strings.ToLower(e.actorObject)
		default:
			e.actor = "account:entra-name/" + string(i.App.DisplayName)
		}
	case i.User != nil:
		e.actorKind, e.actorObject = "user", string(i.User.ID)
		e.actor = "account:entra-user/" + strings.ToLower(firstText(i.User.UserPrincipalName, i.User.ID))
		if i.User.IPAddress != "" {
			e.address = string(i.User.IPAddress)
		}
	}
}

func entraAccount(app string) string { return "account:entra-app/" + strings.ToLower(app) }

// property returns a modified property of any target, by its name.
func (e *entraEvent) property(name string) (auditProperty, bool) {
	for _, t := range e.targets {
		for _, p := range t.ModifiedProperties {
			if strings.EqualFold(string(p.DisplayName), name) {
				return p, true
			}
		}
	}
	return auditProperty{}, false
}

// newValue returns the plain new value of a property, or the old one.
func (e *entraEvent) newValue(name string) string {
	p, _ := e.property(name)
	if value := plainValue(p.NewValue); value != "" {
		return value
	}
	return plainValue(p.OldValue)
}

// plainValue undoes the JSON in which a value is written once more.
func plainValue(value flexText) string {
	var text string
	if json.Unmarshal([]byte(value), &text) == nil {
		return text
	}
	var list []string
	if json.Unmarshal([]byte(value), &list) == nil {
		return strings.Join(list, " ")
	}
	return string(value)
}

// change begins a change with what every one of the record has.
func (e *entraEvent) change(kind tallystick.ChangeKind) *tallystick.Change {
	return &tallystick.Change{
		ID: e.id, Source: e.source, Time: e.time, Kind: kind, Failed: e.failed, Actor: e.actor, ActorKind: e.actorKind,
		Address: bareAddress(e.address), Agent: e.agent, Existing: -1, Operation: strings.TrimSpace(e.operation),
		Correlation: e.correlation, Detail: e.detail,
	}
}
