// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/internal/lab/entra"
)

// The members of each resource type, as the table "Properties" of Microsoft's page on it has
// them: beta signIn (November 2024), v1.0 signIn, directoryAudit, appCredentialSignInActivity
// and servicePrincipalRiskDetection.
const (
	betaSignIn = `appDisplayName appId appliedConditionalAccessPolicies appliedEventListeners appTokenProtectionStatus authenticationAppDeviceDetails
		authenticationAppPolicyEvaluationDetails authenticationContextClassReferences authenticationDetails authenticationMethodsUsed
		authenticationProcessingDetails authenticationProtocol authenticationRequirement authenticationRequirementPolicies autonomousSystemNumber
		azureResourceId clientAppUsed clientCredentialType conditionalAccessAudiences conditionalAccessStatus correlationId createdDateTime
		crossTenantAccessType deviceDetail federatedCredentialId flaggedForReview globalSecureAccessIpAddress homeTenantId homeTenantName id
		incomingTokenType ipAddress ipAddressFromResourceProvider isInteractive isTenantRestricted isThroughGlobalSecureAccess location
		managedServiceIdentity mfaDetail networkLocationDetails originalRequestId originalTransferMethod privateLinkDetails
		processingTimeInMilliseconds resourceDisplayName resourceId resourceServicePrincipalId resourceTenantId riskDetail riskEventTypes_v2
		riskLevelAggregated riskLevelDuringSignIn riskState servicePrincipalCredentialKeyId servicePrincipalCredentialThumbprint
		servicePrincipalId servicePrincipalName sessionId sessionLifetimePolicies signInEventTypes signInIdentifier signInIdentifierType
		signInTokenProtectionStatus status tokenIssuerName tokenIssuerType uniqueTokenIdentifier userAgent userDisplayName userId
		userPrincipalName userType`
	v1SignIn = `appDisplayName appId appliedConditionalAccessPolicies clientAppUsed conditionalAccessStatus correlationId createdDateTime deviceDetail
		id ipAddress isInteractive location resourceDisplayName resourceId riskDetail riskEventTypes riskEventTypes_v2 riskLevelAggregated
		riskLevelDuringSignIn riskState servicePrincipalId servicePrincipalName status userDisplayName userId userPrincipalName`
	directoryAudit = `activityDateTime activityDisplayName additionalDetails category correlationId id initiatedBy loggedByService operationType
		result resultReason targetResources`
	credentialActivity = `appId appObjectId createdDateTime credentialOrigin expirationDateTime id keyId keyType keyUsage resourceId
		servicePrincipalObjectId signInActivity`
	riskDetection = `activity activityDateTime additionalInfo appId correlationId detectedDateTime detectionTimingType id ipAddress keyIds
		lastUpdatedDateTime location requestId riskDetail riskEventType riskLevel riskState servicePrincipalDisplayName servicePrincipalId source
		tokenIssuerType`
	keyCredential = `customKeyIdentifier displayName endDateTime key keyId startDateTime type usage`
	federated     = `audiences description id issuer name subject`
)

func TestResourcesHaveTheDocumentedMembers(t *testing.T) {
	c := newCloud(t, entra.Config{Faults: entra.Faults{NoThrottling: true}}).signedIn()
	c.tenant.SetLicences(true, true)
	c.tenant.AddRisk(entra.Risk{Type: "leakedCredentials", Principal: c.app.Principal})
	app := "/v1.0/applications/" + c.app.Application.ID
	c.do(http.MethodPost, app+"/federatedIdentityCredentials", map[string]any{"name": "ci", "issuer": "https://ci.example", "subject": "x", "audiences": []string{"api://AzureADTokenExchange"}})
	first := func(path string) map[string]any {
		t.Helper()
		return values(c.get(path))[0]
	}
	key := c.get(app + "?$select=keyCredentials")["keyCredentials"].([]any)[0].(map[string]any)
	for _, test := range []struct {
		name, documented string
		got              map[string]any
	}{
		{"signIn, beta", betaSignIn, first("/beta/auditLogs/signIns?$filter=" + url.QueryEscape(programs))},
		{"signIn, v1.0", v1SignIn, first("/v1.0/auditLogs/signIns")},
		{"directoryAudit", directoryAudit, first("/v1.0/auditLogs/directoryAudits")},
		{"appCredentialSignInActivity", credentialActivity, first("/beta/reports/appCredentialSignInActivities")},
		{"servicePrincipalRiskDetection", riskDetection, first("/v1.0/identityProtection/servicePrincipalRiskDetections")},
		{"keyCredential", keyCredential, key},
		{"federatedIdentityCredential", federated, first(app + "/federatedIdentityCredentials")},
	} {
		want, got := strings.Fields(test.documented), slices.Sorted(maps.Keys(test.got))
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (- documented, + given):\n%s", test.name, diff)
		}
	}
}
