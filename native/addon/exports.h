// SPDX-License-Identifier: Apache-2.0
// Each file adds its functions to the module; src/kernel/addon.ts describes them all.
#pragma once

#include "failure.h"

void ExportMap(Napi::Env env, Napi::Object exports);
void ExportObject(Napi::Env env, Napi::Object exports);
void ExportProgram(Napi::Env env, Napi::Object exports);
void ExportLink(Napi::Env env, Napi::Object exports);
void ExportRing(Napi::Env env, Napi::Object exports);
void ExportNetlink(Napi::Env env, Napi::Object exports);
void ExportNetns(Napi::Env env, Napi::Object exports);
void ExportDefragment(Napi::Env env, Napi::Object exports);
void ExportConfigure(Napi::Env env, Napi::Object exports);
void ExportMount(Napi::Env env, Napi::Object exports);
void ExportFile(Napi::Env env, Napi::Object exports);
void ExportWatch(Napi::Env env, Napi::Object exports);
void ExportMemory(Napi::Env env, Napi::Object exports);
