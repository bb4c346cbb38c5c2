// SPDX-License-Identifier: Apache-2.0

package entra

import "time"

// renderAudit writes a record as the resource type directoryAudit. What beta adds
// are the identifiers that link it to a sign-in.
func renderAudit(a *Audit, e auditEntry, beta bool) []byte {
	j := &jsonWriter{}
	j.open()
	j.text("id", a.ID)
	j.text("category", a.Category)
	j.text("correlationId", a.CorrelationID)
	j.text("result", "success")
	j.text("resultReason", "")
	j.text("activityDisplayName", a.Activity)
	j.text("activityDateTime", directoryTime(a.Time))
	j.text("loggedByService", "Core Directory")
	j.text("operationType", e.operation)
	j.name("initiatedBy")
	renderActor(j, &a.Actor, beta)
	j.name("targetResources")
	j.openList()
	for i := range e.targets {
		renderTarget(j, &e.targets[i])
	}
	j.closeList()
	j.name("additionalDetails")
	j.openList()
	j.detail("User-Agent", a.Actor.UserAgent)
	j.detail("AppId", e.appID)
	j.closeList()
	j.close()
	return j.b
}

func (j *jsonWriter) detail(key, value string) {
	if value != "" {
		j.open()
		j.text("key", key)
		j.text("value", value)
		j.close()
	}
}

func renderActor(j *jsonWriter, by *Actor, beta bool) {
	j.open()
	if by.AppID == "" {
		j.null("app")
		j.name("user")
		j.open()
		j.text("id", by.UserID)
		j.null("displayName")
		j.text("userPrincipalName", by.User)
		j.text("ipAddress", by.Address.String())
		j.close()
	} else {
		j.null("user")
		j.name("app")
		j.open()
		j.text("appId", by.AppID)
		j.text("displayName", by.Name)
		j.text("servicePrincipalId", by.PrincipalID)
		j.null("servicePrincipalName")
		j.close()
	}
	if beta && by.UTI != "" {
		j.name("linkableIdentifiers")
		j.open()
		j.null("deviceId")
		j.null("sessionId")
		j.name("tokenDetails")
		j.open()
		j.text("uniqueTokenIdentifier", by.UTI)
		j.text("issuedAtDateTime", graphTime(by.TokenIssued))
		j.close()
		j.close()
	}
	j.close()
}

func renderTarget(j *jsonWriter, t *auditTarget) {
	j.open()
	j.text("id", t.id)
	j.text("displayName", t.name)
	j.text("type", t.kind)
	j.null("userPrincipalName")
	j.null("groupType")
	j.name("modifiedProperties")
	j.openList()
	for _, m := range t.modified {
		j.open()
		j.text("displayName", m.name)
		j.textOrNull("oldValue", m.before)
		j.textOrNull("newValue", m.after)
		j.close()
	}
	j.closeList()
	j.close()
}

func directoryTime(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.9999999Z") }
