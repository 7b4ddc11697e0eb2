// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "failure.h"

#include <functional>

// Runs the action with this thread in that network namespace and comes back. Synchronous, so that nothing
// else of this thread sees the change.
Outcome InNetns(int netns, const std::function<Outcome()> &action);

// Has a file below /proc/sys/net hold that value, as this thread's namespace sees it.
Outcome WriteSetting(const std::string &path, const std::string &value);
