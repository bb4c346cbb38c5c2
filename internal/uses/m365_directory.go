// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"encoding/json"
	"errors"
	"strings"
)

// A unifiedDirectory is a record of workload AzureActiveDirectory in the unified
// audit (Management Activity API, schema of Azure Active Directory).
type unifiedDirectory struct {
	ID, CreationTime, Operation, OrganizationID flexText
	ResultStatus, UserID, ClientIP              flexText
	ActorIPAddress, ObjectID, InterSystemsID    flexText

	Target, Actor                          []struct{ ID, Type flexText }
	ModifiedProperties, ExtendedProperties []struct{ Name, OldValue, NewValue, Value flexText }
}

// readUnifiedDirectory reads such a record for the changes in it.
func readUnifiedDirectory(record string, sink Sink) error {
	var r unifiedDirectory
	if json.Unmarshal([]byte(record), &r) != nil {
		return errors.New("expected a record of workload AzureActiveDirectory, with Target, Actor and ModifiedProperties as lists")
	}
	at := string(r.CreationTime)
	if len(at) == len("2026-11-20T10:15:30") {
		at += "Z" // the schema has UTC, and writes no zone
	}
	e := entraEvent{
		source: "unified-audit", id: string(r.ID), tenant: string(r.OrganizationID), operation: string(r.Operation),
		correlation: string(r.InterSystemsID), address: firstText(r.ActorIPAddress, r.ClientIP),
		failed: strings.HasPrefix(strings.ToLower(string(r.ResultStatus)), "fail"),
	}
	var err error
	if e.time, err = readTime(at); err != nil {
		return err
	}
	target := auditTarget{}
	for _, p := range r.ModifiedProperties {
		target.ModifiedProperties = append(target.ModifiedProperties, auditProperty{p.Name, p.OldValue, p.NewValue})
	}
	e.targets = append(e.targets, target)
	for _, p := range r.ExtendedProperties {
		e.extended(string(p.Name), string(p.Value))
	}
	e.unifiedTarget(&r)
	e.unifiedActor(&r)
	e.emit(sink)
	return nil
}

// extended takes what the audit of Entra ID has as additionalDetails.
func (e *entraEvent) extended(name, value string) {
	if !strings.EqualFold(name, "additionalDetails") {
		return
	}
	var details map[string]flexText
	if json.Unmarshal([]byte(value), &details) != nil {
		return
	}
	e.agent, e.appID = string(details["User-Agent"]), string(details["AppId"])
}

// unifiedTarget takes the identifiers of a target: for an application its type
// and object id in one text, its names, and the id of the application.
func (e *entraEvent) unifiedTarget(r *unifiedDirectory) {
	t := &e.targets[0]
	for _, id := range r.Target {
		kind, object, ok := strings.Cut(string(id.ID), "_")
		switch {
		case ok && firstGUID(object) != "" && t.ID == "":
			t.Type, t.ID = flexText(kind), flexText(object)
		case id.Type == "1" && t.DisplayName == "":
			t.DisplayName = id.ID
		case id.Type == "4" && e.appID == "":
			e.appID = firstGUID(string(id.ID))
		case id.Type == "5":
			t.Type, t.UserPrincipalName = "User", id.ID
		}
	}
	if t.ID == "" {
		t.ID = flexText(firstGUID(string(r.ObjectID)))
	}
	if t.DisplayName == "" {
		t.DisplayName = r.ObjectID
	}
	if t.Type == "" {
		t.Type = "Application"
	}
}

// unifiedActor says who did it: a person by name, or a service principal.
func (e *entraEvent) unifiedActor(r *unifiedDirectory) {
	user := string(r.UserID)
	if object, ok := strings.CutPrefix(user, "ServicePrincipal_"); ok {
		e.actorKind, e.actorObject, e.actor = "application", object, "account:entra-sp/"+strings.ToLower(object)
		for _, id := range r.Actor {
			if app := firstGUID(string(id.ID)); app != "" && id.Type == "4" {
				e.actor = entraAccount(app)
			}
		}
		return
	}
	e.actorKind, e.actor = "user", "account:entra-user/"+strings.ToLower(user)
}
