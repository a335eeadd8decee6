/* NVIDIA's management library for one GPU that does not exist. Its values are the lines `NAME VALUE` of the
   file that the variable FAKE_NVML names, read at each call; a value without a line is not supported. Each
   line `xid N` is one event. With a line `hang 1` the load is never returned. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, TIMEOUT = 10, GPU_IS_LOST = 15 };

static int gpu, instance, events, num_delivered;

static int find(const char *name, int skip, unsigned long long *value)
{
    char line[64];
    unsigned long long number;
    FILE *file = fopen(getenv("FAKE_NVML"), "r");
    int found = 0;
    if (!file)
        return 0;
    while (!found && fscanf(file, "%63s %llu", line, &number) == 2)
        if (!strcmp(line, name) && skip-- == 0) {
            *value = number;
            found = 1;
        }
    fclose(file);
    return found;
}

static int get(const char *name, unsigned *value)
{
    unsigned long long number;
    if (!find(name, 0, &number))
        return NOT_SUPPORTED;
    *value = (unsigned)number;
    return SUCCESS;
}

int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    return SUCCESS;
}

const char *nvmlErrorString(int code)
{
    return code == NOT_FOUND ? "Not Found" : "Not Supported";
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle)
{
    if (!strcmp(uuid, "GPU-11111111-2222-3333-4444-555555555555"))
        *handle = &gpu;
    else if (!strcmp(uuid, "MIG-66666666-2222-3333-4444-555555555555"))
        *handle = &instance;
    else
        return NOT_FOUND;
    return SUCCESS;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *mig, void **handle)
{
    if (mig != &instance)
        return NOT_FOUND;
    *handle = &gpu;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *handle, unsigned rates[2])
{
    unsigned long long ignored;
    if (handle != &gpu)
        return NOT_FOUND;
    while (find("hang", 0, &ignored))
        usleep(20000);
    rates[1] = 0;
    return get("utilization_percent", &rates[0]);
}

int nvmlDeviceGetMemoryInfo(void *handle, unsigned long long memory[3])
{
    static const char *const names[] = {"memory_total", "memory_free", "memory_used"};
    if (handle != &gpu)
        return NOT_FOUND;
    for (int i = 0; i < 3; i++)
        if (!find(names[i], 0, &memory[i]))
            return NOT_SUPPORTED;
    return SUCCESS;
}

struct temperature {
    unsigned version, sensor;
    int celsius;
};

int nvmlDeviceGetTemperatureV(void *handle, struct temperature *reading)
{
    if (handle != &gpu || reading->sensor != 0)
        return NOT_FOUND;
    return get("temperature", (unsigned *)&reading->celsius);
}

int nvmlDeviceGetTemperature(void *handle, unsigned sensor, unsigned *celsius)
{
    if (handle != &gpu || sensor != 0)
        return NOT_FOUND;
    return get("old_temperature", celsius);
}

int nvmlDeviceGetPowerUsage(void *handle, unsigned *milliwatts)
{
    if (handle != &gpu)
        return NOT_FOUND;
    return get("power_milliwatts", milliwatts);
}

int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *milliwatts)
{
    if (handle != &gpu)
        return NOT_FOUND;
    return get("power_limit_milliwatts", milliwatts);
}

int nvmlDeviceGetCurrentClocksEventReasons(void *handle, unsigned long long *reasons)
{
    if (handle != &gpu)
        return NOT_FOUND;
    return find("clock_reasons", 0, reasons) ? SUCCESS : NOT_SUPPORTED;
}

int nvmlDeviceGetTotalEccErrors(void *handle, int kind, int counter, unsigned long long *count)
{
    if (handle != &gpu || counter != 0)
        return NOT_FOUND;
    return find(kind ? "ecc_uncorrected" : "ecc_corrected", 0, count) ? SUCCESS : NOT_SUPPORTED;
}

int nvmlEventSetCreate(void **set)
{
    unsigned ignored;
    if (get("no_events", &ignored) == SUCCESS)
        return NOT_SUPPORTED;
    *set = &events;
    return SUCCESS;
}

int nvmlDeviceRegisterEvents(void *handle, unsigned long long types, void *set)
{
    return handle == &gpu && types == 8 && set == &events ? SUCCESS : NOT_SUPPORTED;
}

struct event {
    void *device;
    unsigned long long type, data;
    unsigned gpu_instance, compute_instance;
};

int nvmlEventSetWait_v2(void *set, struct event *event, unsigned timeout_ms)
{
    unsigned ignored;
    if (set != &events)
        return NOT_FOUND;
    for (unsigned waited_ms = 0;; waited_ms += 20) {
        if (get("lost", &ignored) == SUCCESS)
            return GPU_IS_LOST;
        if (find("xid", num_delivered, &event->data)) {
            num_delivered++;
            event->device = &gpu;
            event->type = 8;
            return SUCCESS;
        }
        if (waited_ms >= timeout_ms)
            return TIMEOUT;
        usleep(20000);
    }
}
