// SPDX-License-Identifier: Apache-2.0

package entra

import "time"

// renderSignIn writes a sign-in as the resource type signIn: of beta with everything that is
// needed to tell who used which credential, of v1.0 without.
func (g *graphRequest) renderSignIn(l *listing, s *signIn) {
	j := &l.jsonWriter
	j.open()
	j.guid("id", s.id)
	j.time("createdDateTime", time.Unix(0, s.at))
	j.b = append(j.b, signInPerson...)
	j.text("appId", s.who.appID)
	j.text("appDisplayName", s.who.name)
	j.address("ipAddress", s.address)
	j.guid("correlationId", s.corr)
	j.text("conditionalAccessStatus", "notApplied")
	j.text("resourceDisplayName", s.who.resourceName)
	j.text("resourceId", s.who.resource)
	j.text("servicePrincipalId", s.who.principalID)
	j.text("servicePrincipalName", s.who.name)
	j.b = append(j.b, signInRisk...)
	j.name("status")
	j.open()
	j.number("errorCode", int(s.code))
	j.text("failureReason", failureText(int(s.code)))
	j.null("additionalDetails")
	j.close()
	renderLocation(j, networkOf(s.address))
	if g.version == "beta" {
		g.renderBeta(j, s)
	} else {
		j.raw("riskEventTypes", "[]")
	}
	j.close()
}

// What is the same in every sign-in of a service principal. Risks are hidden: no tenant
// here has P2.
const (
	signInPerson = `,"userDisplayName":"","userPrincipalName":"","userId":"","clientAppUsed":"","isInteractive":false`
	signInRisk   = `,"riskDetail":"hidden","riskLevelAggregated":"hidden","riskLevelDuringSignIn":"hidden","riskState":"none","riskEventTypes_v2":[],"appliedConditionalAccessPolicies":[],` +
		`"deviceDetail":{"deviceId":"","displayName":"","operatingSystem":"","browser":"","isCompliant":false,"isManaged":false,"trustType":""}`
	signInBeta = `,"authenticationContextClassReferences":[],"authenticationDetails":[],"authenticationMethodsUsed":[],"authenticationProtocol":"none","authenticationRequirement":"singleFactorAuthentication",` +
		`"authenticationRequirementPolicies":[],"authenticationAppDeviceDetails":null,"authenticationAppPolicyEvaluationDetails":[],"azureResourceId":null,"flaggedForReview":false,` +
		`"homeTenantId":"","homeTenantName":"","incomingTokenType":"none","isTenantRestricted":false,"isThroughGlobalSecureAccess":false,"globalSecureAccessIpAddress":null,"managedServiceIdentity":{"associatedResourceId":null,"federatedTokenId":null,"federatedTokenIssuer":null,"msiType":"none"},` +
		`"mfaDetail":null,"networkLocationDetails":[],"originalTransferMethod":"none","privateLinkDetails":null,"processingTimeInMilliseconds":0,"sessionId":"","sessionLifetimePolicies":[],"signInIdentifier":null,"signInIdentifierType":null,"signInEventTypes":["servicePrincipal"],` +
		`"signInTokenProtectionStatus":"none","tokenIssuerName":"","tokenIssuerType":"AzureAD","appTokenProtectionStatus":null,"ipAddressFromResourceProvider":null,"userType":"member","appliedEventListeners":[],"conditionalAccessAudiences":[]`
)

func renderLocation(j *jsonWriter, n network) {
	j.name("location")
	j.open()
	j.text("city", n.city)
	j.text("state", "")
	j.text("countryOrRegion", n.country)
	j.raw("geoCoordinates", `{"altitude":null,"latitude":null,"longitude":null}`)
	j.close()
}

// renderBeta writes the members that beta has more of.
func (g *graphRequest) renderBeta(j *jsonWriter, s *signIn) {
	f := g.world.faults.Load()
	j.b = append(j.b, signInBeta...)
	j.number("autonomousSystemNumber", networkOf(s.address).asn)
	j.text("clientCredentialType", s.with.kind)
	access := "none"
	keyID, thumbprint := s.with.keyID, s.with.thumbprint
	if s.who.owner != "" && s.who.owner != g.tenant.ID {
		access = "serviceProvider"
		if f.ForeignKeyHidden {
			keyID, thumbprint = "", ""
		}
	}
	j.text("crossTenantAccessType", access)
	j.textOrNull("federatedCredentialId", s.with.federated)
	j.guid("originalRequestId", s.id)
	j.text("resourceTenantId", g.tenant.ID)
	j.text("resourceServicePrincipalId", s.who.resourceSPN)
	j.textOrNull("servicePrincipalCredentialKeyId", keyID)
	j.textOrNull("servicePrincipalCredentialThumbprint", thumbprint)
	if !f.NoTokenIdentifier {
		j.name("uniqueTokenIdentifier")
		j.b = append(s.uti.appendUTI(append(j.b, '"')), '"')
	}
	j.text("userAgent", s.agent.name)
	j.name("authenticationProcessingDetails")
	j.openList()
	if s.agent.library != "" {
		j.detail("Azure AD App Authentication Library", s.agent.library)
	}
	j.closeList()
}
