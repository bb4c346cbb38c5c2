// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"encoding/json"
	"fmt"
)

// A directoryRecord is a change of the directory as the unified audit tells it:
// in words of its own (schema of Azure Active Directory, RecordType 8).
type directoryRecord struct {
	operation, user, object, address string
	text                             []byte
}

// The fields of such a record.
type directoryJSON struct {
	commonJSON
	ClientIP           string `json:",omitempty"`
	ObjectID           string `json:"ObjectId"`
	EventType          int    `json:"AzureActiveDirectoryEventType"`
	ExtendedProperties []nameValue
	ModifiedProperties []modifiedJSON
	Actor              []identityJSON
	ActorContextID     string `json:"ActorContextId"`
	InterSystemsID     string `json:"InterSystemsId"`
	Target             []identityJSON
	TargetContextID    string `json:"TargetContextId"`
}

type modifiedJSON struct{ Name, NewValue, OldValue string }

type identityJSON struct {
	ID   string
	Type int
}

// directoryAudit is the part of Graph's directoryAudit that is told again.
type directoryAudit struct {
	ID, CorrelationID, Result, ActivityDisplayName string
	TargetResources                                []struct {
		ID, DisplayName, Type, UserPrincipalName string
		ModifiedProperties                       []struct{ DisplayName, OldValue, NewValue string }
	}
	AdditionalDetails []struct{ Key, Value string }
}

// Types of an identity in the schema.
const (
	identityName      = 1
	identityObject    = 2 // "ServicePrincipal_<object id>", and its kind alone
	identityPrincipal = 4 // the id of an application
	identityUser      = 5
)

// directory records a change of the directory.
func (a *UnifiedAudit) directory(t *Tenant, audit Audit) error {
	var d directoryAudit
	if err := json.Unmarshal(audit.JSON, &d); err != nil {
		return fmt.Errorf("couldn't read a directory audit: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.record(audit.Time, false)
	j := directoryJSON{
		commonJSON: r.common(t, audit.Activity, "AzureActiveDirectory", recordDirectory), EventType: 1,
		ActorContextID: t.ID, TargetContextID: t.ID, InterSystemsID: audit.CorrelationID,
	}
	j.ResultStatus = "Success" // and not Succeeded, as mail has it
	if audit.Actor.Address.IsValid() {
		j.ClientIP = audit.Actor.Address.String()
	}
	if d.Result != "" && d.Result != "success" {
		j.ResultStatus = "Failure"
	}
	j.actor(audit.Actor)
	j.target(&d)
	details := map[string]string{}
	for _, detail := range d.AdditionalDetails {
		details[detail.Key] = detail.Value
	}
	if text, err := json.Marshal(details); err == nil && len(details) > 0 {
		j.ExtendedProperties = []nameValue{{"additionalDetails", string(text)}}
	}
	text, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("couldn't write a record of the unified audit: %w", err)
	}
	r.directory = &directoryRecord{j.Operation, j.UserID, j.ObjectID, j.ClientIP, text}
	tenant := a.tenant(t.ID)
	tenant.records = append(tenant.records, r)
	return nil
}

func (j *directoryJSON) actor(by Actor) {
	if by.PrincipalID != "" || by.AppID != "" {
		j.UserID, j.UserType = "ServicePrincipal_"+by.PrincipalID, userPrincipal
		j.Actor = []identityJSON{{by.Name, identityName}, {j.UserID, identityObject}, {by.PrincipalID, identityObject}, {"ServicePrincipal", identityObject}, {by.AppID, identityPrincipal}}
	} else {
		j.UserID = by.User
		j.Actor = []identityJSON{{"User_" + by.UserID, identityObject}, {by.UserID, identityObject}, {"User", identityObject}, {by.User, identityUser}}
	}
	j.UserKey = j.UserID
}

// target names what was changed: the first of the resources, as the schema has
// one target in many identities.
func (j *directoryJSON) target(d *directoryAudit) {
	for i, r := range d.TargetResources {
		if i == 0 {
			j.ObjectID = r.ID
			j.Target = []identityJSON{{r.Type + "_" + r.ID, identityObject}, {r.ID, identityObject}, {r.Type, identityObject}, {r.DisplayName, identityName}}
		}
		for _, p := range r.ModifiedProperties {
			j.ModifiedProperties = append(j.ModifiedProperties, modifiedJSON{p.DisplayName, p.NewValue, p.OldValue})
		}
	}
}
