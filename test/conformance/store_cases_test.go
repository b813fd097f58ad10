// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"testing"

	"k8s.io/apimachinery/pkg/api/apitesting"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/storage"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/component-base/featuregate"
)

// gates are the feature gates that a case sets while it runs.
type gates map[featuregate.Feature]bool

// storeCase is one run of one function of the suite over an etcd3 store.
type storeCase struct {
	suite   any    // the function of the suite; its name is the case's
	variant string // tells apart several runs of one function
	gates   gates
	server  serverNeeds
	options func() storeOptions // nil: the usual store
	run     func(*storeEnv)
}

// overStore is the case of a function that needs a store and nothing else.
func overStore(suite func(context.Context, *testing.T, storage.Interface)) storeCase {
	return storeCase{suite: suite, run: func(e *storeEnv) { suite(e.ctx, e.t, e) }}
}

// pagedAndStreamed is a case twice: with lists read by pages, and by RangeStream.
func pagedAndStreamed(c storeCase) []storeCase {
	paged, streamed := c, c
	paged.variant, streamed.variant = c.variant+"paged", c.variant+"streamed"
	paged.gates = gates{features.EtcdRangeStream: false}
	streamed.gates = gates{features.EtcdRangeStream: true}
	for feature, enabled := range c.gates {
		paged.gates[feature], streamed.gates[feature] = enabled, enabled
	}
	return []storeCase{paged, streamed}
}

// storeCases are all runs over the etcd3 store.
func storeCases() []storeCase {
	cases := storeWriteCases()
	cases = append(cases, storeCorruptObjectCases()...)
	cases = append(cases, storeReadCases()...)
	return append(cases, storeWatchCases()...)
}

func storeWriteCases() []storeCase {
	return []storeCase{
		{suite: storagetesting.RunTestCreate, run: func(e *storeEnv) {
			storagetesting.RunTestCreate(e.ctx, e.t, e, e.checkStored)
		}},
		overStore(storagetesting.RunTestCreateWithTTL),
		overStore(storagetesting.RunTestCreateWithKeyExist),
		overStore(storagetesting.RunTestUnconditionalDelete),
		overStore(storagetesting.RunTestConditionalDelete),
		overStore(storagetesting.RunTestDeleteWithSuggestion),
		overStore(storagetesting.RunTestDeleteWithSuggestionAndConflict),
		overStore(storagetesting.RunTestDeleteWithSuggestionOfDeletedObject),
		overStore(storagetesting.RunTestValidateDeletionWithSuggestion),
		overStore(storagetesting.RunTestValidateDeletionWithOnlySuggestionValid),
		overStore(storagetesting.RunTestDeleteWithConflict),
		overStore(storagetesting.RunTestPreconditionalDeleteWithSuggestion),
		overStore(storagetesting.RunTestPreconditionalDeleteWithOnlySuggestionPass),
		overStore(storagetesting.RunTestKeySchema),
		{suite: storagetesting.RunTestGuaranteedUpdate, run: func(e *storeEnv) {
			storagetesting.RunTestGuaranteedUpdate(e.ctx, e.t, e, e.checkStored)
		}},
		overStore(storagetesting.RunTestGuaranteedUpdateWithTTL),
		{suite: storagetesting.RunTestGuaranteedUpdateChecksStoredData, run: func(e *storeEnv) {
			storagetesting.RunTestGuaranteedUpdateChecksStoredData(e.ctx, e.t, e)
		}},
		overStore(storagetesting.RunTestGuaranteedUpdateWithConflict),
		overStore(storagetesting.RunTestGuaranteedUpdateWithSuggestionAndConflict),
		{suite: storagetesting.RunTestTransformationFailure, run: func(e *storeEnv) {
			storagetesting.RunTestTransformationFailure(e.ctx, e.t, e)
		}},
	}
}

// storeCorruptObjectCases are about objects that can no longer be read.
func storeCorruptObjectCases() []storeCase {
	codec := &failingCodec{Codec: apitesting.TestCodec(codecs, examplev1.SchemeGroupVersion)}
	transformer := &failingTransformer{Transformer: storagetesting.NewPrefixTransformer([]byte(storedPrefix), false)}
	withCodec := func() storeOptions { return storeOptions{codec: codec} }
	withTransformer := func() storeOptions { return storeOptions{transformer: transformer} }
	// Where the suite looks at the keys in error texts, it takes them to be without a prefix.
	withoutPrefix := func() storeOptions { return storeOptions{prefix: "/"} }
	unsafeDeletion := gates{features.AllowUnsafeMalformedObjectDeletion: true}
	return []storeCase{
		{suite: storagetesting.RunTestDeleteWithConflictAndMissingExpectedTransformOrDecodeError,
			gates: unsafeDeletion, options: withCodec, run: func(e *storeEnv) {
				storagetesting.RunTestDeleteWithConflictAndMissingExpectedTransformOrDecodeError(e.ctx, e.t, e, codec.set)
			}},
		{suite: storagetesting.RunTestDeleteExpectedTransformOrDecodeError, variant: "transform",
			gates: unsafeDeletion, options: withTransformer, run: func(e *storeEnv) {
				storagetesting.RunTestDeleteExpectedTransformOrDecodeError(e.ctx, e.t, e, transformer.set)
			}},
		{suite: storagetesting.RunTestDeleteExpectedTransformOrDecodeError, variant: "decode",
			gates: unsafeDeletion, options: withCodec, run: func(e *storeEnv) {
				storagetesting.RunTestDeleteExpectedTransformOrDecodeError(e.ctx, e.t, e, codec.set)
			}},
		{suite: storagetesting.RunTestDeleteWithSuggestionAndMissingExpectedTransformOrDecodeError,
			gates: unsafeDeletion, run: func(e *storeEnv) {
				storagetesting.RunTestDeleteWithSuggestionAndMissingExpectedTransformOrDecodeError(e.ctx, e.t, e)
			}},
		{suite: storagetesting.RunTestGetListWithErrorAggregation,
			gates: unsafeDeletion, server: ownServer, options: withoutPrefix, run: func(e *storeEnv) {
				storagetesting.RunTestGetListWithErrorAggregation(e.ctx, e.t, e.withUnsafeDeletion(), corruptObjectError(e.t))
			}},
		{suite: storagetesting.RunTestGetListWithoutErrorAggregation,
			gates:  gates{features.AllowUnsafeMalformedObjectDeletion: false},
			server: ownServer, options: withoutPrefix, run: func(e *storeEnv) {
				storagetesting.RunTestGetListWithoutErrorAggregation(e.ctx, e.t, e, corruptObjectError(e.t))
			}},
		{suite: storagetesting.RunTestWatchWithUnsafeDelete, gates: unsafeDeletion, run: func(e *storeEnv) {
			storagetesting.RunTestWatchWithUnsafeDelete(e.ctx, e.t, e, corruptObjectError(e.t))
		}},
	}
}

func storeReadCases() []storeCase {
	cases := []storeCase{
		overStore(storagetesting.RunTestGet),
		overStore(storagetesting.RunTestListPaging),
		{suite: storagetesting.RunTestGetListNonRecursive, run: func(e *storeEnv) {
			storagetesting.RunTestGetListNonRecursive(e.ctx, e.t, increaseRevision(e.client), e)
		}},
		overStore(storagetesting.RunTestGetListRecursivePrefix),
		{suite: storagetesting.RunTestCompactRevision, gates: gates{features.ListFromCacheSnapshot: true}, run: func(e *storeEnv) {
			storagetesting.RunTestCompactRevision(e.ctx, e.t, e, increaseRevision(e.client), e.compact)
		}},
		{suite: storagetesting.RunTestListContinuation, run: func(e *storeEnv) {
			storagetesting.RunTestListContinuation(e.ctx, e.t, e, e.checkCalls)
		}},
		// The store's own read of compact_rev_key would be counted as one of the list's.
		{suite: storagetesting.RunTestListPaginationRareObject, gates: gates{features.ListFromCacheSnapshot: false}, run: func(e *storeEnv) {
			storagetesting.RunTestListPaginationRareObject(e.ctx, e.t, e, e.checkCalls)
		}},
		{suite: storagetesting.RunTestListContinuationWithFilter, run: func(e *storeEnv) {
			storagetesting.RunTestListContinuationWithFilter(e.ctx, e.t, e, e.checkCalls)
		}},
		overStore(storagetesting.RunTestNamespaceScopedList),
		{suite: storagetesting.RunTestListInconsistentContinuation, run: func(e *storeEnv) {
			storagetesting.RunTestListInconsistentContinuation(e.ctx, e.t, e, e.compact)
		}},
		{suite: storagetesting.RunTestListResourceVersionMatch, run: func(e *storeEnv) {
			storagetesting.RunTestListResourceVersionMatch(e.ctx, e.t, e)
		}},
		{suite: storagetesting.RunTestStats, variant: "sized", run: func(e *storeEnv) {
			if err := e.EnableResourceSizeEstimation(e.keys); err != nil {
				e.t.Fatalf("enable the estimate of sizes: %v", err)
			}
			storagetesting.RunTestStats(e.ctx, e.t, e, e.codec, e.transformer, true)
		}},
		{suite: storagetesting.RunTestStats, variant: "unsized", run: func(e *storeEnv) {
			storagetesting.RunTestStats(e.ctx, e.t, e, e.codec, e.transformer, false)
		}},
	}
	cases = append(cases, pagedAndStreamed(storeCase{suite: storagetesting.RunTestList, run: runStoreList})...)
	return append(cases, pagedAndStreamed(storeCase{suite: storagetesting.RunTestConsistentList, run: func(e *storeEnv) {
		storagetesting.RunTestConsistentList(e.ctx, e.t, e, increaseRevision(e.client), false, true, false)
	}})...)
}

// runStoreList also checks that lists took the way that the gate says.
func runStoreList(e *storeEnv) {
	storagetesting.RunTestList(e.ctx, e.t, e, e.compact, false, listRecorder(e.client))
	streams := kvRecorder(e.client).GetStreamReadsAndReset()
	if enabled := rangeStreamEnabled(); enabled != (streams > 0) {
		e.t.Errorf("RangeStream is enabled: %v, but %d lists were streamed", enabled, streams)
	}
}

func storeWatchCases() []storeCase {
	cases := []storeCase{
		overStore(storagetesting.RunTestWatch),
		overStore(storagetesting.RunTestClusterScopedWatch),
		overStore(storagetesting.RunTestNamespaceScopedWatch),
		overStore(storagetesting.RunTestDeleteTriggerWatch),
		{suite: storagetesting.RunTestWatchFromZero, run: func(e *storeEnv) {
			storagetesting.RunTestWatchFromZero(e.ctx, e.t, e, e.compact)
		}},
		overStore(storagetesting.RunTestWatchFromNonZero),
		overStore(storagetesting.RunTestDelayedWatchDelivery),
		{suite: storagetesting.RunTestWatchError, run: func(e *storeEnv) {
			storagetesting.RunTestWatchError(e.ctx, e.t, e)
		}},
		overStore(storagetesting.RunTestWatchContextCancel),
		overStore(storagetesting.RunTestWatcherTimeout),
		overStore(storagetesting.RunTestWatchDeleteEventObjectHaveLatestRV),
		overStore(storagetesting.RunTestWatchInitializationSignal),
		{suite: storagetesting.RunOptionalTestProgressNotify, server: withFrequentProgress, run: func(e *storeEnv) {
			storagetesting.RunOptionalTestProgressNotify(e.ctx, e.t, e, increaseRevision(e.client))
		}},
		{suite: storagetesting.RunTestWatchDispatchBookmarkEvents, server: withFrequentProgress, run: func(e *storeEnv) {
			storagetesting.RunTestWatchDispatchBookmarkEvents(e.ctx, e.t, e, false)
		}},
		overStore(storagetesting.RunSendInitialEventsBackwardCompatibility),
		{suite: storagetesting.RunWatchErrorIsBlockingFurtherEvents, run: func(e *storeEnv) {
			storagetesting.RunWatchErrorIsBlockingFurtherEvents(e.ctx, e.t, e)
		}},
	}
	// It watches from revision 1, which a shared server has compacted.
	semantics := overStore(storagetesting.RunWatchSemantics)
	semantics.server = ownServer
	concurrent := semantics
	concurrent.variant = "concurrent-decode-"
	concurrent.gates = gates{features.ConcurrentWatchObjectDecode: true}
	for _, c := range []storeCase{
		semantics,
		concurrent,
		overStore(storagetesting.RunWatchSemanticInitialEventsExtended),
		overStore(storagetesting.RunWatchListMatchSingle),
	} {
		cases = append(cases, pagedAndStreamed(c)...)
	}
	return cases
}
